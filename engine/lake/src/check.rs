//! Rules that every written row has to keep: CHECK constraints and generated columns.
//!
//! Delta keeps them as table properties and in the metadata of columns, so that every writer finds
//! them. It never decides how a condition is planned: whoever plans the rows plans it too.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use datafusion::physical_expr::PhysicalExpr;

use crate::{error::LakeError, schema, snapshot::Snapshot};

/// Properties with this prefix hold a constraint under its name.
pub const CONSTRAINT_PREFIX: &str = "delta.constraints.";

/// A rule that is planned: a condition over the table's columns.
#[derive(Debug, Clone)]
pub struct Check {
    /// What it is.
    pub rule: Rule,
    /// Name of the constraint or of the generated column.
    pub name: String,
    /// The condition, or the column's expression, as it stands in the log.
    pub condition: String,
    /// What has to be true of batches with the table's columns.
    pub expr: Arc<dyn PhysicalExpr>,
}

/// What a row has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A CHECK constraint.
    Constraint,
    /// A column that has the value of its expression.
    Generated,
}

impl Snapshot {
    /// Names and conditions of the table's CHECK constraints.
    pub fn constraints(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties().iter().filter_map(|(key, condition)| {
            Some((key.strip_prefix(CONSTRAINT_PREFIX)?, condition.as_str()))
        })
    }

    /// Whether a column of the table follows from others.
    #[must_use]
    pub fn has_generated_columns(&self) -> bool {
        schema::generated(&self.schema()).next().is_some()
    }
}

/// Refuses to write a table whose constraints and generated columns are not among `checks`.
pub(crate) fn all_checked(snapshot: &Snapshot, checks: &[Check]) -> Result<(), LakeError> {
    let columns = snapshot.schema();
    let constraints = snapshot.constraints().map(|(name, text)| (Rule::Constraint, name, text));
    let generated = schema::generated(&columns).map(|(name, text)| (Rule::Generated, name, text));
    for (rule, name, text) in constraints.chain(generated) {
        let is_it =
            |check: &Check| check.rule == rule && check.name == name && check.condition == text;
        if !checks.iter().any(is_it) {
            let feature = match rule {
                Rule::Constraint => "checkConstraints",
                Rule::Generated => "generatedColumns",
            };
            return Err(LakeError::Unsupported {
                location: snapshot.location().to_owned(),
                feature: format!("{feature} ('{name}')"),
                access: "write in this way",
            });
        }
    }
    Ok(())
}

/// Fails on the first row that makes a condition false. NULL passes, as the SQL standard says.
pub(crate) fn check_rows(
    location: &str,
    checks: &[Check],
    rows: &RecordBatch,
) -> Result<(), LakeError> {
    for check in checks {
        let failed =
            |source| LakeError::Query { location: location.to_owned(), source: Arc::new(source) };
        let value = check.expr.evaluate(rows).map_err(failed)?;
        let value = value.into_array(rows.num_rows()).map_err(failed)?;
        let Some(passes) = value.as_boolean_opt() else { continue };
        let violated = (0..passes.len()).find(|row| passes.is_valid(*row) && !passes.value(*row));
        if let Some(row) = violated {
            let (location, row) = (location.to_owned(), shown(&rows.slice(row, 1)));
            let (name, condition) = (check.name.clone(), check.condition.clone());
            return Err(match check.rule {
                Rule::Constraint => LakeError::Check { location, name, condition, row },
                Rule::Generated => {
                    LakeError::Generated { location, column: name, expression: condition, row }
                }
            });
        }
    }
    Ok(())
}

/// The first row of a batch as people write it: `id = 7, name = 'x'`, cut off when it is long.
#[must_use]
pub fn shown(row: &RecordBatch) -> String {
    const SHOWN_MAX: usize = 200;
    let values = row.schema_ref().fields().iter().zip(row.columns()).map(|(field, column)| {
        let value = arrow::util::display::array_value_to_string(column, 0);
        let value = match value {
            Ok(_) if column.is_null(0) => "NULL".to_owned(),
            Ok(text) if field.data_type().is_string() => format!("'{text}'"),
            Ok(text) => text,
            Err(_) => "?".to_owned(),
        };
        format!("{} = {value}", field.name())
    });
    let mut text = values.collect::<Vec<_>>().join(", ");
    if text.len() > SHOWN_MAX {
        let cut = (0..=SHOWN_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}
