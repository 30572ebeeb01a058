//! The query of a transform: the same path as any query, with its inputs pinned.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use datafusion::{
    execution::{SessionState, TaskContext},
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast},
    physical_plan::ExecutionPlan,
};
use lake::At;
use model::{
    job::PinnedInput,
    name::{DEFAULT_SCHEMA, ObjectName},
    object::{Object, ObjectBody, TableFormat},
    principal::Principal,
    rights::Rights,
    transform::{DeclaredColumn, Transform},
};

use crate::{
    command,
    error::QueryError,
    known::Known,
    plan,
    queries::{Inner, Queries},
    resolve::{self, Pins, Purpose, Reads, Resolved, Wanted},
    share,
};

/// A transform's query, planned over pinned inputs and ready to be staged.
pub struct PlannedTransform {
    /// Its partitions are to be written side by side.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What the plan runs with.
    pub task: Arc<TaskContext>,
    /// Rows in all its Delta inputs together, by their statistics; 0 when unknown, or not for the owner
    /// to know.
    pub rows_expected: u64,
}

impl std::fmt::Debug for PlannedTransform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedTransform")
            .field("rows_expected", &self.rows_expected)
            .finish_non_exhaustive()
    }
}

impl PlannedTransform {
    /// Rows that were read from the inputs so far, for progress.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        plan::rows_read(self.plan.as_ref())
    }

    /// Bytes of the data files that it reads, known before it runs; whole files where only some of
    /// their columns are read.
    #[must_use]
    pub fn bytes_to_read(&self) -> u64 {
        share::bytes_to_read(self.plan.as_ref())
    }
}

impl Queries {
    /// Every table that a transform reads, through views, at its newest version. By name. `known` is
    /// what a run knows of the objects.
    ///
    /// A transform among them that was never refreshed is [`QueryError::NotRefreshed`].
    pub async fn transform_inputs(
        &self,
        owner: &Principal,
        view: &Transform,
        known: Option<&Known>,
    ) -> Result<Vec<PinnedInput>, QueryError> {
        let inner = &self.inner;
        let mut inputs = Vec::new();
        let rights = inner.rights(owner).await?;
        for object in leaves(inner, &rights, view, known).await? {
            inputs.push(pin(inner, &object).await?);
        }
        Ok(inputs)
    }

    /// Plans a transform's query over inputs at the versions that were pinned.
    pub async fn plan_transform(
        &self,
        owner: &Principal,
        view: &Transform,
        inputs: &[PinnedInput],
    ) -> Result<PlannedTransform, QueryError> {
        let inner = Arc::clone(&self.inner);
        let (owner, view, inputs) = (owner.clone(), view.clone(), inputs.to_vec());
        let work = async move { inner.plan_transform(&owner, &view, &inputs).await };
        self.inner.control().spawn(work).await?
    }
}

impl Inner {
    async fn plan_transform(
        &self,
        owner: &Principal,
        view: &Transform,
        inputs: &[PinnedInput],
    ) -> Result<PlannedTransform, QueryError> {
        let (resolved, logical) = self.resolve_transform(owner, view, inputs, None).await?;
        let physical = plan::physical(&resolved.state, &logical).await?;
        Ok(PlannedTransform {
            plan: physical,
            task: resolved.state.task_ctx(),
            rows_expected: resolved.rows_expected(),
        })
    }

    /// Whether the plan of a transform tells somebody with these rights only what they may know.
    pub(crate) async fn may_show_plan(
        &self,
        owner: &Principal,
        view: &Transform,
        inputs: &[PinnedInput],
        rights: &Rights,
    ) -> Result<bool, QueryError> {
        let query = resolve::parse_stored(&view.query)?;
        let pins: Pins = inputs.iter().map(|input| (input.object, input.clone())).collect();
        let wanted = Wanted {
            rights: self.rights(owner).await?,
            default_schema: DEFAULT_SCHEMA,
            purpose: Purpose::Read,
            pins: &pins,
            streams: None,
            known: None,
        };
        let looked = resolve::look_up(self, Reads::from(&query), &wanted).await?;
        Ok(looked.hidden_from(rights).is_none())
    }

    /// The query over inputs at the versions that were pinned, in the declared columns.
    pub(crate) async fn resolve_transform(
        &self,
        owner: &Principal,
        view: &Transform,
        inputs: &[PinnedInput],
        known: Option<&Known>,
    ) -> Result<(Resolved, LogicalPlan), QueryError> {
        let query = resolve::parse_stored(&view.query)?;
        let pins: Pins = inputs.iter().map(|input| (input.object, input.clone())).collect();
        let reads = Reads::from(&query);
        let rights = self.rights(owner).await?;
        let (default_schema, purpose) = (DEFAULT_SCHEMA, Purpose::Read);
        let wanted = Wanted { rights, default_schema, purpose, pins: &pins, streams: None, known };
        let resolved = resolve::resolve(self, reads, &wanted).await?;
        has_versions(&resolved)?;
        let logical = plan::logical(&resolved.state, &query).await?;
        let logical = shaped(&resolved.state, logical, &view.columns).await?;
        Ok((resolved, logical))
    }
}

/// Refuses what no run could pin to one version.
pub(crate) fn has_versions(resolved: &Resolved) -> Result<(), QueryError> {
    // Of a STREAM the table's own log says which were read.
    if let Some(files) = resolved.files.iter().find(|files| !files.is_stream) {
        // No run could say which of them it had read, so nobody could tell whether they are others now.
        return Err(QueryError::Unsupported(format!(
            "neither a materialized view nor a flow can read {files}, not through a view either: files \
             without a table have no version that runs could pin; name them with CREATE EXTERNAL TABLE \
             and read that"
        )));
    }
    if let Some(name) = resolved.quarantine() {
        return Err(QueryError::Unsupported(format!(
            "a stored result cannot be computed from the quarantine of '{name}', not through a view \
             either: insert its rows into a table, and read that"
        )));
    }
    match resolved.table_of_changes() {
        None => Ok(()),
        Some(table) => Err(QueryError::Unsupported(format!(
            "neither a materialized view nor a flow can read the changes of '{table}'; \
             read the table itself, or insert its changes into a table"
        ))),
    }
}

/// Gives a query's result the declared columns: names and types by position, NOT NULL kept for the
/// writer to enforce. Without a declaration the plan stays as it is.
pub(crate) async fn shaped(
    state: &SessionState,
    plan: LogicalPlan,
    columns: &[DeclaredColumn],
) -> Result<LogicalPlan, QueryError> {
    if columns.is_empty() {
        return Ok(plan);
    }
    let fields = plan.schema().fields().len();
    if columns.len() != fields {
        let declared: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        let found: Vec<_> =
            plan.schema().fields().iter().map(|field| field.name().as_str()).collect();
        return Err(QueryError::Invalid(format!(
            "the column list declares {} columns ({}) and the query has {fields} ({})",
            columns.len(),
            declared.join(", "),
            found.join(", ")
        )));
    }
    let mut expressions = Vec::with_capacity(fields);
    for (n, column) in columns.iter().enumerate() {
        let source = Expr::from(plan.schema().qualified_field(n));
        let typed = match &column.data_type {
            None => source,
            Some(text) => {
                let declared = command::arrow_type(state, text).await?;
                let field = plan.schema().field(n);
                if !fits(field.data_type(), &declared) {
                    return Err(misfit(column, text, field));
                }
                cast(source, declared)
            }
        };
        expressions.push(typed.alias(&column.name));
    }
    Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?)
}

/// Whether values of a query's column may become those of a declared one without a CAST that says
/// so: within numbers, within texts, within times. What does not fit into a narrower type of them is
/// refused when it comes.
fn fits(found: &DataType, declared: &DataType) -> bool {
    let alike = |is: fn(&DataType) -> bool| is(found) && is(declared);
    let is_day = |data_type: &DataType| {
        matches!(data_type, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
    };
    let is_time =
        |data_type: &DataType| matches!(data_type, DataType::Time32(_) | DataType::Time64(_));
    let is_binary = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        )
    };
    found == declared
        || found.is_null()
        || alike(DataType::is_numeric)
        || alike(DataType::is_string)
        || alike(is_day)
        || alike(is_time)
        || alike(is_binary)
        || (found.is_nested() && declared.is_nested())
}

fn misfit(column: &DeclaredColumn, declared: &str, found: &Field) -> QueryError {
    QueryError::Invalid(format!(
        "the column list declares '{}' as {declared}, and the query's column '{}' is {}: \
         CAST it in the query, or declare it otherwise",
        column.name,
        found.name(),
        command::sql_type(found.data_type())
    ))
}

/// Fields of the stored table that a declaration makes stricter or describes.
#[must_use]
pub fn declared_fields(fields: &[Arc<Field>], columns: &[DeclaredColumn]) -> Vec<Arc<Field>> {
    let declared: BTreeMap<_, _> = columns.iter().map(|column| (&column.name, column)).collect();
    let stored = |field: &Arc<Field>| {
        let Some(column) = declared.get(field.name()) else { return Arc::clone(field) };
        let mut field = field.as_ref().clone().with_nullable(!column.not_null);
        // What it was computed from where it comes from says nothing about the columns here.
        field.metadata_mut().remove(lake::GENERATED);
        if let Some(comment) = &column.comment {
            field.set_metadata([("comment".to_owned(), comment.clone())].into());
        }
        Arc::new(field)
    };
    fields.iter().map(stored).collect()
}

/// The tables and transforms below a query, views seen through, by name.
pub(crate) async fn leaves(
    inner: &Inner,
    rights: &Rights,
    view: &Transform,
    known: Option<&Known>,
) -> Result<Vec<Object>, QueryError> {
    let mut found: BTreeMap<ObjectName, Object> = BTreeMap::new();
    let mut level: Vec<ObjectName> = view.reads.clone();
    while !level.is_empty() {
        let objects = inner.look_up(known, &level).await?;
        for name in &level {
            if !objects.iter().any(|object| object.name == *name) {
                return Err(inner.not_found(rights, name.clone()).await);
            }
        }
        let mut next = Vec::new();
        for object in objects {
            if let ObjectBody::View(_) = &object.body {
                next.extend(object.reads().iter().cloned());
            } else {
                found.insert(object.name.clone(), object);
            }
        }
        next.retain(|name| !found.contains_key(name));
        level = next;
    }
    Ok(found.into_values().collect())
}

pub(crate) async fn pin(inner: &Inner, object: &Object) -> Result<PinnedInput, QueryError> {
    let lake = &inner.options.lake;
    let (delta_table_id, version) = match &object.body {
        ObjectBody::Table(table) if table.format != TableFormat::Delta => {
            (String::new(), lake.table_fingerprint(table).await?)
        }
        ObjectBody::Table(table) => {
            let snapshot = lake.snapshot(&table.location, At::Latest).await?;
            (snapshot.table_id().to_owned(), snapshot.version())
        }
        ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
            if !lake.exists(&view.location).await? {
                return Err(QueryError::NotRefreshed(object.name.clone()));
            }
            let snapshot = lake.snapshot(&view.location, At::Latest).await?;
            (snapshot.table_id().to_owned(), snapshot.version())
        }
        ObjectBody::View(_) => {
            return Err(QueryError::Invalid(format!(
                "'{}' is a view and cannot be pinned",
                object.name
            )));
        }
    };
    Ok(PinnedInput { object: object.id, name: object.name.clone(), delta_table_id, version })
}
