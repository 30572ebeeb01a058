//! REFRESH … WHERE: some partitions are computed anew, all others stay.
//!
//! The condition names columns that the result is partitioned by and nothing else, so it chooses
//! whole files of the table; and it is asked of the rows of the query as the table would store them,
//! so the rows that come belong to exactly the partitions whose rows go. It stands above the query,
//! from where the optimizer takes it as far down as it may.
//!
//! What the whole table stands for afterwards is decided here too: for the versions of the run only
//! where it stood for these before.

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::{
    catalog::default_table_source::DefaultTableSource,
    common::{
        Column, DFSchema, ToDFSchema,
        tree_node::{Transformed, TreeNode},
    },
    execution::SessionState,
    logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder},
    physical_plan::{ExecutionPlan, union::UnionExec},
};
use lake::{At, LakeError, Snapshot};
use model::{
    job::PinnedInput, object::Object, principal::Principal, profile::Profile, transform::Transform,
};

use super::{
    Choice, PlannedRefresh, RefreshWork, Since, Strategy, Why,
    apply::{both, coming, going, places},
    choose::same_values,
};
use crate::{
    command::target::{changes_with_time, physical_of},
    describe,
    error::QueryError,
    expect::{Gate, Quarantining, has_query},
    known::Known,
    numbers, plan,
    planning::aside,
    queries::{Inner, Queries},
    transform::PlannedTransform,
};

/// What a run of some partitions wants to compute.
#[derive(Debug, Clone)]
pub struct PartWish {
    /// What is refreshed; its query has the rights of its owner.
    pub object: Object,
    /// Its definition.
    pub view: Transform,
    /// The partitions, as SQL.
    pub condition: String,
    /// The versions that its inputs are pinned to.
    pub inputs: Vec<PinnedInput>,
    /// What is there.
    pub since: Since,
    /// The rows that are there are the answer for versions with the same rows as those of `inputs`.
    pub same_inputs: bool,
    /// What is noted with rows that are quarantined.
    pub quarantining: Quarantining,
    /// What the run may take.
    pub profile: Profile,
    /// What the run knows of the objects.
    pub known: Option<Known>,
}

/// Partitions that are planned.
#[derive(Debug)]
pub struct PlannedPart {
    /// The change of the table.
    pub refresh: PlannedRefresh,
    /// Afterwards partitions of the table stand for different versions of the inputs.
    pub is_mixed: bool,
    /// All rows of the quarantine as it will be: those of other partitions that stay, and those that
    /// this run puts there. Has to run beside the plan of the change; `None` where there is no
    /// quarantine.
    pub quarantine: Option<Arc<dyn ExecutionPlan>>,
}

impl Queries {
    /// Plans the partitions that a condition chooses. Refused, with what to do, where they could not
    /// stand beside the others: a table that is not there, of another definition or layout.
    pub async fn plan_part(
        &self,
        wish: PartWish,
        quarantine: Option<Arc<Snapshot>>,
    ) -> Result<PlannedPart, QueryError> {
        let inner = Arc::clone(&self.inner);
        let work = async move { aside(inner.plan_part(&wish, quarantine.as_ref())).await };
        self.inner.control().spawn(work).await?
    }

    /// Refuses a condition that cannot choose partitions of a transform, before a job is queued.
    pub(crate) async fn check_part(
        &self,
        object: &Object,
        view: &Transform,
        condition: &str,
    ) -> Result<(), QueryError> {
        let inner = Arc::clone(&self.inner);
        let (object, view) = (object.clone(), view.clone());
        let condition = condition.to_owned();
        let work = async move {
            let columns = inner.stored_columns(&object).await?;
            checked(&inner.state(object.name.schema()), &columns, &view.partitioned_by, &condition)
        };
        self.inner.control().spawn(work).await?.map(drop)
    }
}

impl Inner {
    /// The columns of a transform as its table has them, or will have them.
    pub(crate) async fn stored_columns(&self, object: &Object) -> Result<SchemaRef, QueryError> {
        let rights = self.rights(&Principal::verified(&object.owner)).await?;
        describe::columns(self, &rights, object).await
    }

    async fn plan_part(
        &self,
        wish: &PartWish,
        quarantine: Option<&Arc<Snapshot>>,
    ) -> Result<PlannedPart, QueryError> {
        let PartWish { object, view, condition, inputs, known, .. } = wish;
        let base = self.base_of_part(wish).await?;
        let owner = Principal::verified(&object.owner);
        let (resolved, logical) =
            self.resolve_transform(&owner, view, inputs, known.as_ref()).await?;
        let resolved = resolved.within(&wish.profile);
        let state = &resolved.state;
        let stored = base.schema();
        let same_names = stored.fields().len() == logical.schema().fields().len()
            && stored
                .fields()
                .iter()
                .zip(logical.schema().fields())
                .all(|(a, b)| a.name() == b.name());
        if !same_names {
            return Err(refused(wish, "the table has other columns than the query"));
        }
        let chosen = checked(state, &stored, &view.partitioned_by, condition)?;
        let gate =
            Gate::new(state, logical.schema().inner(), &view.expectations, wish.quarantining)?;
        let computed = LogicalPlanBuilder::from(logical.clone())
            .filter(as_stored(chosen, &stored, logical.schema())?)?
            .build()?;
        let there = places(&base)?;
        let goes = numbers::expression(state, condition, there.schema())?;
        let there = LogicalPlanBuilder::from(there).filter(goes)?.build()?;
        let changes =
            both(going(there, &stored)?, coming(state, computed, &stored, gate.as_ref())?)?;
        let planned = PlannedTransform {
            plan: plan::physical(state, &changes).await?,
            task: state.task_ctx(),
            rows_expected: resolved.rows_expected(),
        };
        let quarantine = match &gate {
            Some(gate) => self.quarantine_of_part(state, quarantine, condition, gate).await?,
            None => None,
        };
        let is_mixed = !(wish.since.is_ok() && wish.same_inputs);
        let rest = match (is_mixed, &wish.since) {
            (false, _) => "the other partitions stand for the same versions".to_owned(),
            (true, Ok(_)) => "the other partitions stand for earlier versions".to_owned(),
            (true, Err(why)) => format!("of the other partitions that is not known ({why})"),
        };
        let reason = Why::new("REQUESTED_PART", format!("{condition}; {rest}"));
        let choice = Choice { strategy: Strategy::Part, reason, alternatives: Vec::new() };
        let work = RefreshWork::Change(planned, base);
        Ok(PlannedPart { refresh: PlannedRefresh { choice, work, gate }, is_mixed, quarantine })
    }

    /// The table whose other partitions stay, if what comes may stand beside them.
    async fn base_of_part(&self, wish: &PartWish) -> Result<Arc<Snapshot>, QueryError> {
        let PartWish { view, since, .. } = wish;
        let base = match since {
            Ok((_, base)) => Arc::clone(base),
            Err(Why { code: "FIRST_RUN", .. }) => {
                return Err(refused(wish, "it was never refreshed, so there is nothing beside it"));
            }
            Err(Why { code: "DEFINITION_CHANGED", .. }) => {
                let why = "its definition has changed since its last refresh, and parts of two \
                           definitions make no table";
                return Err(refused(wish, why));
            }
            Err(Why { code: "TABLE_CREATED_ANEW", .. }) => {
                return Err(refused(wish, "its table was not written by a refresh of it"));
            }
            // Nobody knows what the other partitions stand for; that is written down.
            Err(_) => match self.options.lake.snapshot(&view.location, At::Latest).await {
                Err(LakeError::NotFound { .. }) => {
                    return Err(refused(wish, "its table is gone"));
                }
                base => base?,
            },
        };
        if base.partitioned_by() != view.partitioned_by.as_slice() {
            return Err(refused(wish, "its table is partitioned in another way"));
        }
        Ok(base)
    }

    /// The rows in quarantine that the condition does not choose, and those that come.
    async fn quarantine_of_part(
        &self,
        state: &SessionState,
        table: Option<&Arc<Snapshot>>,
        condition: &str,
        gate: &Gate,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>, QueryError> {
        let (Some(coming), Some(columns)) = (gate.quarantine_plan(), gate.quarantine_columns())
        else {
            return Ok(None);
        };
        let Some(table) = table else { return Ok(Some(coming)) };
        let source = Arc::new(DefaultTableSource::new(table.provider()?));
        let there = LogicalPlanBuilder::scan("@quarantine", source, None)?.build()?;
        let chosen = numbers::expression(state, condition, there.schema())?;
        let mut items = Vec::with_capacity(columns.fields().len());
        for field in columns.fields() {
            let column = Column::new(Some("@quarantine"), field.name());
            let column = Expr::Column(column).cast_to(field.data_type(), there.schema())?;
            items.push(column.alias(field.name()));
        }
        let stays = LogicalPlanBuilder::from(there)
            .filter(Expr::IsNotTrue(Box::new(chosen)))?
            .project(items)?
            .build()?;
        let stays = plan::physical(state, &stays).await?;
        Ok(Some(UnionExec::try_new(vec![stays, coming])?))
    }
}

/// The condition over the stored columns of a result, if it chooses partitions.
fn checked(
    state: &SessionState,
    stored: &SchemaRef,
    partitioned_by: &[String],
    condition: &str,
) -> Result<Expr, QueryError> {
    let refused =
        |why: String| Err(QueryError::Invalid(format!("REFRESH … WHERE {condition}: {why}")));
    if partitioned_by.is_empty() {
        return refused(
            "it computes whole partitions, and the view has none; REFRESH it as a whole, or declare \
             it PARTITIONED BY a column"
                .to_owned(),
        );
    }
    let by = partitioned_by.join(", ");
    if has_query(condition) {
        return refused(format!(
            "it has a subquery, and may only name columns that the view is partitioned by ({by})"
        ));
    }
    let schema = Arc::clone(stored).to_dfschema()?;
    let expr = match numbers::expression(state, condition, &schema) {
        Ok(expr) => expr,
        Err(error) => {
            return refused(format!("it cannot be evaluated: {}", QueryError::from(error)));
        }
    };
    let used: BTreeSet<_> = expr.column_refs().into_iter().map(|column| &column.name).collect();
    if let Some(other) = used.iter().find(|name| !partitioned_by.contains(**name)) {
        return refused(format!(
            "the view is not partitioned by '{other}', and only whole partitions can be computed \
             alone: name {by} instead, or REFRESH the view as a whole"
        ));
    }
    if expr
        .exists(|expr| Ok(matches!(expr, Expr::AggregateFunction(_) | Expr::WindowFunction(_))))?
    {
        return refused(
            "it has an aggregate or a window function, and is asked of each row".to_owned(),
        );
    }
    if changes_with_time(&expr)? {
        return refused(
            "it calls a function whose answer changes with time, so nobody could say later which \
             partitions it meant: write the value"
                .to_owned(),
        );
    }
    let planned = match physical_of(state, expr.clone(), &schema) {
        Ok(planned) => planned,
        Err(error) => {
            return refused(format!("it cannot be evaluated: {}", QueryError::from(error)));
        }
    };
    let data_type = planned.data_type(stored)?;
    if !matches!(data_type, DataType::Boolean) {
        return refused(format!("it is {data_type}, not true or false"));
    }
    Ok(expr)
}

/// The condition over the columns of the query, each as the table would store it.
fn as_stored(chosen: Expr, stored: &SchemaRef, query: &DFSchema) -> Result<Expr, QueryError> {
    let replaced = chosen.transform(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let at = stored.index_of(&column.name)?;
        let (of_query, data_type) = (query.field(at).data_type(), stored.field(at).data_type());
        let column = Expr::from(query.qualified_field(at));
        // A cast that changes no value would only be in the way of the optimizer.
        let column = match same_values(of_query, data_type) {
            true => column,
            false => column.cast_to(data_type, query)?,
        };
        Ok(Transformed::yes(column))
    })?;
    Ok(replaced.data)
}

fn refused(wish: &PartWish, why: &str) -> QueryError {
    let name = wish.object.name.to_sql();
    QueryError::Invalid(format!(
        "REFRESH … WHERE cannot compute a part of '{}': {why}; REFRESH MATERIALIZED VIEW {name} FULL \
         computes all of it",
        wish.object.name
    ))
}

#[cfg(test)]
mod tests;
