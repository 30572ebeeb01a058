//! Keys of transforms: checked by queries over the rows of a run, before anybody sees them.
//!
//! A full result is checked as it is. Where only some rows come, their keys are checked against each
//! other and against the rows that stay; rows that stay were checked when they came. Keys whose
//! values were proved to differ while their rows were written need no query ([`distinct_columns`]). Nothing is
//! decided here about publishing: a violated key comes back as a [`Violation`].

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, SchemaRef},
};
use datafusion::{
    catalog::TableProvider,
    common::{Column, JoinType, NullEquality, TableReference},
    datasource::provider_as_source,
    execution::TaskContext,
    functions_aggregate::expr_fn::count,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit},
    physical_plan::{ExecutionPlan, execute_stream},
};
use futures::StreamExt;
use lake::DistinctColumns;
use model::{
    job::PinnedInput,
    name::{DEFAULT_SCHEMA, ObjectName, quote},
    object::{Object, ObjectBody},
    principal::Principal,
    report::KeyResult,
    transform::{Key, KeyKind, KeyMode},
};

use crate::{
    error::QueryError,
    plan,
    queries::{Inner, Queries},
    resolve::{self, Pins, Purpose, Reads, Resolved, Wanted},
    session::Session,
    violation::{Violation, ViolationKind},
};

/// Values that an error shows.
const EXAMPLES_MAX: usize = 5;
/// The name of the rows in the plans here, which no text can say.
const ROWS: &str = "@rows";
const COMING: &str = "@coming";
const REFERENCED: &str = "@referenced";
const COUNT: &str = "@count";

/// The rows of a run that nobody sees yet.
#[derive(Clone)]
pub struct RunRows {
    /// The table as it would be.
    pub table: Arc<dyn TableProvider>,
    /// The rows of it that come, and perhaps some that stay; `None` when all of them come.
    pub coming: Option<Arc<dyn TableProvider>>,
}

impl std::fmt::Debug for RunRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunRows").field("all_come", &self.coming.is_none()).finish()
    }
}

/// What is to be checked of the rows of a run.
#[derive(Debug, Clone)]
pub struct KeyCheck {
    /// With whose rights other objects are read.
    pub owner: Principal,
    /// The transform.
    pub object: ObjectName,
    /// Its keys.
    pub keys: Vec<Key>,
    /// Versions at which objects are read, where the run has pinned them; others at their newest.
    pub inputs: Vec<PinnedInput>,
    /// The rows.
    pub rows: RunRows,
    /// Names of keys that are known to hold, so that nothing has to be asked of the rows.
    pub proved: Vec<String>,
}

/// What came of checking a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedKey {
    /// For the report.
    pub result: KeyResult,
    /// Why the run has to fail.
    pub violation: Option<Violation>,
}

/// Of a verified key the columns that have to have different values in all rows of a result; `None`
/// where that is not what it says.
#[must_use]
pub fn distinct_columns(key: &Key) -> Option<DistinctColumns> {
    let nulls_equal = match key.kind {
        KeyKind::Primary => false,
        KeyKind::Unique { nulls_equal } => nulls_equal,
        KeyKind::Foreign { .. } => return None,
    };
    let columns = key.columns.clone();
    (key.mode == KeyMode::Verified).then_some(DistinctColumns { columns, nulls_equal })
}

impl Queries {
    /// Checks each key that is VERIFIED; others are left alone.
    pub async fn check_keys(&self, check: KeyCheck) -> Result<Vec<CheckedKey>, QueryError> {
        let KeyCheck { owner, object, keys, inputs, rows, proved } = check;
        let mut checked = Vec::new();
        for key in keys.into_iter().filter(|key| key.mode == KeyMode::Verified) {
            if proved.contains(&key.name) {
                let result = KeyResult { name: key.name, violated: 0 };
                checked.push(CheckedKey { result, violation: None });
                continue;
            }
            let (inner, owner, inputs) = (Arc::clone(&self.inner), owner.clone(), inputs.clone());
            let (of, rows, planned_key) = (object.clone(), rows.clone(), key.clone());
            let planning =
                async move { inner.plan_key(&owner, &of, &planned_key, &inputs, &rows).await };
            let (plan, task) = self.inner.control().spawn(planning).await??;
            let runtime = self.runtime(&plan).clone();
            let width = key.columns.len();
            let found = runtime.spawn(async move { violating(plan, task, width).await }).await??;
            let violated = found.values + u64::from(found.null_rows > 0);
            let result = KeyResult { name: key.name.clone(), violated };
            let violation = (violated > 0).then(|| found.violation(&object, &key));
            checked.push(CheckedKey { result, violation });
        }
        Ok(checked)
    }
}

impl Inner {
    async fn plan_key(
        &self,
        owner: &Principal,
        object: &ObjectName,
        key: &Key,
        inputs: &[PinnedInput],
        rows: &RunRows,
    ) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), QueryError> {
        let pins: Pins = inputs.iter().map(|input| (input.object, input.clone())).collect();
        let rights = self.rights(owner).await?;
        let (default_schema, purpose) = (DEFAULT_SCHEMA, Purpose::Read);
        let (streams, known) = (None, None);
        let wanted = Wanted { rights, default_schema, purpose, pins: &pins, streams, known };
        let (resolved, logical) = match &key.kind {
            KeyKind::Foreign { references, columns } if references != object => {
                let query = resolve::parse_stored(&referenced(references, columns))?;
                let resolved = resolve::resolve(self, Reads::from(&query), &wanted).await?;
                let there = plan::logical(&resolved.state, &query).await?;
                let there = LogicalPlanBuilder::from(there).alias(REFERENCED)?.build()?;
                let logical = orphans(rows, key, there, columns)?;
                (resolved, logical)
            }
            kind => {
                let nothing = Reads { tables: &[], files: &[] };
                let resolved = resolve::resolve(self, nothing, &wanted).await?;
                let logical = match kind {
                    KeyKind::Foreign { columns, .. } => {
                        let there = scan(REFERENCED, &rows.table)?.build()?;
                        orphans(rows, key, there, columns)?
                    }
                    KeyKind::Primary | KeyKind::Unique { .. } => repeated(rows, key)?,
                };
                (resolved, logical)
            }
        };
        let physical = plan::physical(&resolved.state, &logical).await?;
        Ok((physical, resolved.state.task_ctx()))
    }
}

fn referenced(references: &ObjectName, columns: &[String]) -> String {
    let columns: Vec<_> = columns.iter().map(|column| quote(column)).collect();
    format!("SELECT {} FROM {}", columns.join(", "), references.to_sql())
}

fn scan(name: &str, table: &Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder, QueryError> {
    let source = provider_as_source(Arc::clone(table));
    Ok(LogicalPlanBuilder::scan(TableReference::bare(name), source, None)?)
}

fn columns_of(relation: &str, names: &[String]) -> Vec<Column> {
    let column = |name: &String| Column::new(Some(TableReference::bare(relation)), name);
    names.iter().map(column).collect()
}

fn any_null(columns: &[Column]) -> Expr {
    let nulls = columns.iter().map(|column| Expr::Column(column.clone()).is_null());
    nulls.reduce(Expr::or).unwrap_or_else(|| lit(false))
}

/// Values of a key with the number of their rows.
fn counted(rows: LogicalPlanBuilder, columns: &[Column]) -> Result<LogicalPlanBuilder, QueryError> {
    let by = columns.iter().cloned().map(Expr::Column);
    Ok(rows.aggregate(by, [count(lit(1_i64)).alias(COUNT)])?)
}

/// Values of a key that more than one row has, or that must not be: of a primary key NULLs.
fn repeated(rows: &RunRows, key: &Key) -> Result<LogicalPlan, QueryError> {
    let columns = columns_of(ROWS, &key.columns);
    let mut these = scan(ROWS, &rows.table)?;
    if let Some(coming) = &rows.coming {
        let new = scan(COMING, coming)?;
        let keys = columns_of(COMING, &key.columns);
        let new = new.project(keys.iter().cloned().map(Expr::Column))?.build()?;
        these = these.join_detailed(
            new,
            JoinType::LeftSemi,
            (columns.clone(), keys),
            None,
            NullEquality::NullEqualsNull,
        )?;
    }
    let is_primary = key.kind == KeyKind::Primary;
    if key.kind == (KeyKind::Unique { nulls_equal: false }) {
        these = these.filter(!any_null(&columns))?;
    }
    let mut violates = Expr::Column(Column::new_unqualified(COUNT)).gt(lit(1_i64));
    if is_primary {
        violates = violates.or(any_null(&columns));
    }
    Ok(counted(these, &columns)?.filter(violates)?.build()?)
}

/// Values of a key without NULL that are not among the referenced ones.
fn orphans(
    rows: &RunRows,
    key: &Key,
    there: LogicalPlan,
    referenced: &[String],
) -> Result<LogicalPlan, QueryError> {
    let columns = columns_of(ROWS, &key.columns);
    let new = rows.coming.as_ref().unwrap_or(&rows.table);
    let these = scan(ROWS, new)?.filter(!any_null(&columns))?;
    // Counted first: then there is one row for each value to look up.
    let these = counted(these, &columns)?;
    let orphans = these.join_detailed(
        there,
        JoinType::LeftAnti,
        (columns, columns_of(REFERENCED, referenced)),
        None,
        NullEquality::NullEqualsNothing,
    )?;
    Ok(orphans.build()?)
}

/// What violates a key.
#[derive(Debug, Default)]
struct Found {
    /// How many values without NULL.
    values: u64,
    /// How many rows have a NULL in it, where that violates it.
    null_rows: u64,
    /// Some of the values, each with the number of its rows.
    examples: Vec<(i64, String)>,
}

/// Runs a plan whose rows are the values that violate a key, and behind them their count.
async fn violating(
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
    width: usize,
) -> Result<Found, QueryError> {
    let mut found = Found::default();
    let mut batches = execute_stream(plan, task)?;
    while let Some(batch) = batches.next().await {
        found.add(&batch?, width)?;
    }
    Ok(found)
}

impl Found {
    fn add(&mut self, batch: &RecordBatch, width: usize) -> Result<(), QueryError> {
        let values = batch.project(&(0..width).collect::<Vec<_>>())?;
        let counts = batch.column(width).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let rows = counts.value(row);
            // Nobody counts less than one row.
            let is_null = values.columns().iter().any(|column| column.is_null(row));
            if is_null {
                self.null_rows += u64::try_from(rows).unwrap_or_default();
            } else {
                self.values += 1;
            }
            let fewest = self.examples.last().map_or(i64::MIN, |(rows, _)| *rows);
            if self.examples.len() == EXAMPLES_MAX && rows <= fewest {
                continue;
            }
            self.examples.push((rows, lake::shown(&values.slice(row, 1))));
            // Those with the most rows first, in an order that is the same each time.
            self.examples.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            self.examples.truncate(EXAMPLES_MAX);
        }
        Ok(())
    }

    fn violation(self, of: &ObjectName, key: &Key) -> Violation {
        let columns = key.columns.join(", ");
        let mut text = format!(
            "the {} '{}' ({columns}) of '{of}' does not hold: ",
            key.kind.as_sql(),
            key.name
        );
        let values = match self.values {
            1 => "1 value".to_owned(),
            n => format!("{n} values"),
        };
        let (kind, way_out) = match &key.kind {
            KeyKind::Foreign { references, columns } => {
                let is_are = if self.values == 1 { "is" } else { "are" };
                text.push_str(&format!(
                    "{values} {is_are} not in {references} ({})",
                    columns.join(", ")
                ));
                (
                    ViolationKind::Foreign,
                    "add the missing rows there, leave such rows out with \
                    an inner join or an expectation",
                )
            }
            KeyKind::Primary | KeyKind::Unique { .. } => {
                let mut parts = Vec::new();
                if self.values > 0 {
                    let comes = if self.values == 1 { "comes" } else { "come" };
                    parts.push(format!("{values} {comes} more than once"));
                }
                if self.null_rows > 0 {
                    let (rows, have) = match self.null_rows {
                        1 => ("1 row".to_owned(), "has"),
                        n => (format!("{n} rows"), "have"),
                    };
                    let what = match &key.kind {
                        KeyKind::Primary => "NULL in it",
                        _ => "the same values with NULL in it",
                    };
                    parts.push(format!("{rows} {have} {what}"));
                }
                text.push_str(&parts.join(", and "));
                (
                    ViolationKind::Unique,
                    "leave repeated rows out in the query, with DISTINCT, \
                    GROUP BY or QUALIFY",
                )
            }
        };
        let examples = self.examples.into_iter().map(|(rows, value)| match rows {
            1 => format!("{value} (1 row)"),
            n => format!("{value} ({n} rows)"),
        });
        Violation {
            kind,
            text,
            examples: examples.collect(),
            hint: format!(
                "nothing was published; {way_out}, or declare the key RELY or NOT ENFORCED"
            ),
        }
    }
}

/// Refuses keys that a result with these columns cannot have, and gives each foreign key the columns
/// that it references: those of the other object's primary key when it names none.
pub(crate) async fn check(
    inner: &Inner,
    session: &Session,
    object: &ObjectName,
    columns: &SchemaRef,
    keys: Vec<Key>,
) -> Result<Vec<Key>, QueryError> {
    let mut checked: Vec<Key> = Vec::with_capacity(keys.len());
    for mut key in keys {
        own_columns(&key, columns)?;
        if checked.iter().any(|other| other.name == key.name) {
            return Err(QueryError::Invalid(format!("two keys are named '{}'", key.name)));
        }
        if key.kind == KeyKind::Primary
            && checked.iter().any(|other| other.kind == KeyKind::Primary)
        {
            return Err(QueryError::Invalid(format!(
                "'{object}' would have two primary keys: declare the second one UNIQUE"
            )));
        }
        if let KeyKind::Foreign { references, columns: there } = &mut key.kind {
            if there.is_empty() {
                *there = primary_key(inner, session, object, &checked, references).await?;
            }
            if there.len() != key.columns.len() {
                return Err(QueryError::Invalid(format!(
                    "the FOREIGN KEY '{}' has {} columns and references {} of '{references}'",
                    key.name,
                    key.columns.len(),
                    there.len()
                )));
            }
            let types = match references == object {
                true => types_of(&key.name, columns, there)?,
                false => referenced_types(inner, session, &key.name, references, there).await?,
            };
            for ((own, other), other_type) in key.columns.iter().zip(there.iter()).zip(types) {
                let own_type = columns.field_with_name(own)?.data_type();
                if !comparable(own_type, &other_type) {
                    return Err(QueryError::Invalid(format!(
                        "the FOREIGN KEY '{}' compares '{own}', which is {own_type}, with '{other}' \
                         of '{references}', which is {other_type}: CAST it in the query",
                        key.name
                    )));
                }
            }
        }
        checked.push(key);
    }
    Ok(checked)
}

fn own_columns(key: &Key, columns: &SchemaRef) -> Result<(), QueryError> {
    let what = format!("the {} '{}'", key.kind.as_sql(), key.name);
    for (n, name) in key.columns.iter().enumerate() {
        let Ok(field) = columns.field_with_name(name) else {
            let there: Vec<_> =
                columns.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(QueryError::Invalid(format!(
                "{what} names the column '{name}', which the result does not have; it has {}",
                there.join(", ")
            )));
        };
        if key.columns[..n].contains(name) {
            return Err(QueryError::Invalid(format!("{what} names the column '{name}' twice")));
        }
        if field.data_type().is_nested() {
            return Err(QueryError::Invalid(format!(
                "{what} names the column '{name}', which is {}: no such column can be in a key",
                field.data_type()
            )));
        }
    }
    match key.columns.is_empty() {
        true => Err(QueryError::Invalid(format!("{what} names no column"))),
        false => Ok(()),
    }
}

fn types_of(key: &str, columns: &SchemaRef, names: &[String]) -> Result<Vec<DataType>, QueryError> {
    names
        .iter()
        .map(|name| {
            let field = columns.field_with_name(name).map_err(|_| {
                QueryError::Invalid(format!(
                    "the FOREIGN KEY '{key}' references the column '{name}', which there is not"
                ))
            })?;
            Ok(field.data_type().clone())
        })
        .collect()
}

async fn referenced_types(
    inner: &Inner,
    session: &Session,
    key: &str,
    references: &ObjectName,
    columns: &[String],
) -> Result<Vec<DataType>, QueryError> {
    let blame = |error: QueryError| {
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        QueryError::Invalid(format!(
            "the FOREIGN KEY '{key}' references {references}: {error}{hint}"
        ))
    };
    let query = resolve::parse_stored(&referenced(references, columns))?;
    let resolved: Resolved =
        inner.resolve(session, (&query).into(), Purpose::Describe).await.map_err(blame)?;
    let plan = plan::logical(&resolved.state, &query).await.map_err(blame)?;
    Ok(plan.schema().fields().iter().map(|field| field.data_type().clone()).collect())
}

/// The columns of an object's primary key.
async fn primary_key(
    inner: &Inner,
    session: &Session,
    object: &ObjectName,
    own: &[Key],
    references: &ObjectName,
) -> Result<Vec<String>, QueryError> {
    let columns = if references == object {
        own.iter().find(|key| key.kind == KeyKind::Primary).map(|key| key.columns.clone())
    } else {
        primary_key_of(&inner.object_named(session, references).await?)
    };
    columns.ok_or_else(|| {
        QueryError::Invalid(format!(
            "'{references}' declares no primary key: name the columns, REFERENCES {} (…)",
            references.to_sql()
        ))
    })
}

/// The columns of the primary key that an object declares.
pub(crate) fn primary_key_of(object: &Object) -> Option<Vec<String>> {
    match &object.body {
        ObjectBody::Table(table) => {
            (!table.primary_key.is_empty()).then(|| table.primary_key.clone())
        }
        _ => object
            .transform()?
            .keys
            .iter()
            .find(|key| key.kind == KeyKind::Primary)
            .map(|key| key.columns.clone()),
    }
}

/// Whether values of two types are compared without a cast that could fail or surprise.
fn comparable(one: &DataType, other: &DataType) -> bool {
    one == other
        || (one.is_numeric() && other.is_numeric())
        || (one.is_string() && other.is_string())
        || (one.is_temporal() && other.is_temporal())
        || (is_binary(one) && is_binary(other))
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

#[cfg(test)]
mod tests;
