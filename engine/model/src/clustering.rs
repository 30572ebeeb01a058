//! `CLUSTER BY`: the columns by which files of a table are put in order, kept as a property of it.

use std::collections::BTreeSet;

use crate::object::Properties;

/// The property that holds the columns, as a JSON list of their names.
pub const CLUSTER_BY: &str = "whimbrel.clusterBy";

/// The property is no list of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the property '{CLUSTER_BY}' is '{value}', and has to be a JSON list of columns, each once"
)]
pub struct ClusterByError {
    value: String,
}

/// The property that says these columns; none for no column.
#[must_use]
pub fn property(columns: &[String]) -> Properties {
    if columns.is_empty() {
        return Properties::new();
    }
    Properties::from([(CLUSTER_BY.to_owned(), serde_json::json!(columns).to_string())])
}

/// The columns that the properties of a table say, each once; none without the property.
pub fn columns(properties: &Properties) -> Result<Vec<String>, ClusterByError> {
    let Some(value) = properties.get(CLUSTER_BY) else { return Ok(Vec::new()) };
    let columns: Option<Vec<String>> = serde_json::from_str(value).ok();
    let is_once =
        |columns: &Vec<String>| columns.iter().collect::<BTreeSet<_>>().len() == columns.len();
    columns.filter(is_once).ok_or_else(|| ClusterByError { value: value.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_as_they_were() {
        for names in [vec![], vec!["a"], vec!["a b", "it's", "\"q\""]] {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            assert_eq!(columns(&property(&names)), Ok(names));
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for value in ["a, b", "[\"a\", \"a\"]", "[1]"] {
            let properties = Properties::from([(CLUSTER_BY.to_owned(), value.to_owned())]);
            let error = columns(&properties).expect_err("no list of columns");
            assert!(error.to_string().contains(value), "{error}");
        }
    }
}
