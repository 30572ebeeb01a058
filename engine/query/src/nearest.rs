//! The name that was probably meant.

use model::name::ObjectName;

/// Names less alike than this are no typing errors of each other.
const LIKENESS_MIN: f64 = 0.82;

/// The most similar of the names, if any is similar: the same name in another schema counts nearly
/// as much as a match, then come typing errors.
#[must_use]
pub fn nearest<'a>(
    wanted: &ObjectName,
    names: impl Iterator<Item = &'a ObjectName>,
) -> Option<String> {
    let likeness = |name: &ObjectName| {
        let elsewhere = if name.schema() == wanted.schema() { 0.0 } else { 0.01 };
        strsim::jaro_winkler(name.name(), wanted.name()) - elsewhere
    };
    names
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_alike_are_suggested() {
        let name = |schema: &str, name: &str| ObjectName::new(schema, name).unwrap();
        let known = [name("main", "t"), name("silver", "flights"), name("gold", "routes")];
        for (wanted, expected) in [
            (name("silver", "flight"), Some("silver.flights")),
            (name("main", "routes"), Some("gold.routes")),
            (name("main", "nothing"), None),
        ] {
            assert_eq!(nearest(&wanted, known.iter()).as_deref(), expected, "{wanted}");
        }
    }
}
