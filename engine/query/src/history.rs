//! What holds of the rows that AUTO CDC makes, checked before anybody sees them.
//!
//! Of SCD type 1: no key has two rows. Of type 2: the intervals of a key follow each other without
//! overlap, each begins before it ends, and only the newest may be open. That follows from the query
//! (`streaming/kept.rs`); it is checked all the same, since a table that breaks it answers wrongly and
//! nobody sees it. A violation is a defect of ours, or somebody else has written into the table.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    catalog::TableProvider,
    common::{Column, JoinType, NullEquality, TableReference},
    datasource::provider_as_source,
    execution::{SessionState, TaskContext},
    functions_window::expr_fn::lead,
    logical_expr::{
        Expr, ExprFunctionExt, ExprSchemable, LogicalPlan, LogicalPlanBuilder, WindowFrame, lit,
    },
    physical_plan::{ExecutionPlan, execute_stream},
};
use futures::StreamExt;
use model::{
    name::{DEFAULT_SCHEMA, ObjectName},
    transform::{END_AT, FlowKind, History, START_AT, Transform},
};

use crate::{
    error::QueryError,
    keys::RunRows,
    plan,
    queries::Queries,
    violation::{Violation, ViolationKind},
};

/// Keys that an error shows.
const EXAMPLES_MAX: usize = 5;
const ROWS: &str = "@rows";
const COMING: &str = "@coming";
const NEXT: &str = "@next";

/// What is to be checked of the rows that AUTO CDC has made.
#[derive(Debug, Clone)]
pub struct HistoryCheck {
    /// The streaming table.
    pub object: ObjectName,
    /// Columns that a row is known by.
    pub keys: Vec<String>,
    /// Whether earlier states are kept: SCD type 2.
    pub every_state: bool,
    /// The rows.
    pub rows: RunRows,
}

impl HistoryCheck {
    /// The check of a table, if one of its flows is AUTO CDC.
    #[must_use]
    pub fn of(object: &ObjectName, view: &Transform, rows: RunRows) -> Option<Self> {
        let spec = view.flows.iter().find_map(|flow| match &flow.kind {
            FlowKind::Changes(spec) => Some(spec),
            FlowKind::Append => None,
        })?;
        let every_state = matches!(spec.history, History::Every { .. });
        let times = [START_AT, END_AT].into_iter().filter(|_| every_state);
        let columns = rows.table.schema();
        let mut needed = spec.keys.iter().map(String::as_str).chain(times);
        // A declared column list may give the columns other names, and then says not which is which.
        if !needed.all(|name| columns.field_with_name(name).is_ok()) {
            return None;
        }
        Some(Self { object: object.clone(), keys: spec.keys.clone(), every_state, rows })
    }

    /// The rows that break what has to hold: the columns of their keys.
    fn plan(&self) -> Result<LogicalPlan, QueryError> {
        let of = |relation: &str, name: &String| {
            Expr::Column(Column::new(Some(TableReference::bare(relation)), name))
        };
        let keys = || self.keys.iter().map(|key| of(ROWS, key));
        let mut these = scan(ROWS, &self.rows.table)?;
        if let Some(coming) = &self.rows.coming {
            let columns = |relation: &str| {
                let relation = Some(TableReference::bare(relation));
                self.keys.iter().map(|key| Column::new(relation.clone(), key)).collect::<Vec<_>>()
            };
            let new =
                scan(COMING, coming)?.project(columns(COMING).into_iter().map(Expr::Column))?;
            these = these.join_detailed(
                new.build()?,
                JoinType::LeftSemi,
                (columns(ROWS), columns(COMING)),
                None,
                NullEquality::NullEqualsNull,
            )?;
        }
        // Without a time all rows of a key are alike, and a second one is one too many.
        let time = |name: &str| of(ROWS, &name.to_owned());
        let begin = if self.every_state { time(START_AT) } else { lit(0_i64) };
        let order = begin.clone().sort(true, true);
        // Adding nothing takes the sign from a zero, which is one key.
        let unsigned = |key: Expr| match key.get_type(these.schema()) {
            Ok(DataType::Float32 | DataType::Float64) => key + lit(0),
            _ => key,
        };
        // Any but the one that goes without saying, which is a range: structs have none.
        let frame = WindowFrame::new(Some(true));
        let next = lead(begin.clone(), Some(1), None)
            .partition_by(keys().map(unsigned).collect())
            .order_by(vec![order])
            .window_frame(frame)
            .build()?
            .alias(NEXT);
        let next_of = Expr::Column(Column::new_unqualified(NEXT));
        let breaks = if self.every_state {
            let end = time(END_AT);
            let overlaps = end.clone().is_null().or(end.clone().gt(next_of.clone()));
            begin
                .clone()
                .is_null()
                .or(end.lt_eq(begin))
                .or(next_of.clone().is_not_null().and(overlaps))
                .or(next_of.eq(time(START_AT)))
        } else {
            next_of.is_not_null()
        };
        let these = these.window([next])?.filter(breaks)?.project(keys())?;
        Ok(these.build()?)
    }

    async fn physical(
        &self,
        state: &SessionState,
    ) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), QueryError> {
        Ok((plan::physical(state, &self.plan()?).await?, state.task_ctx()))
    }

    fn violation(&self, rows: usize, examples: Vec<String>) -> Violation {
        let keys = self.keys.join(", ");
        let what = if self.every_state {
            "intervals of one key overlap, do not end after they begin, or are open twice"
        } else {
            "one key has several rows"
        };
        Violation {
            kind: ViolationKind::Unique,
            text: format!(
                "what AUTO CDC would write into '{}' is no history by ({keys}): {what}, at {rows} rows",
                self.object
            ),
            examples,
            hint: "nothing was published; if only the refreshes of this table write into it, this is a \
                   defect of Whimbrel: report it with the events of one of these keys. REFRESH … FULL \
                   makes the table anew"
                .to_owned(),
        }
    }
}

impl Queries {
    /// Why rows that AUTO CDC has made must not be published, if there is a reason.
    pub async fn check_history(
        &self,
        check: HistoryCheck,
    ) -> Result<Option<Violation>, QueryError> {
        let state = self.inner.state(DEFAULT_SCHEMA);
        let planned = check.clone();
        let planning = async move { planned.physical(&state).await };
        let (plan, task) = self.inner.control().spawn(planning).await??;
        let runtime = self.runtime(&plan).clone();
        let (rows, examples) = runtime.spawn(found(plan, task)).await??;
        Ok((rows > 0).then(|| check.violation(rows, examples)))
    }
}

/// How many rows a plan has, and some of them.
async fn found(
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
) -> Result<(usize, Vec<String>), QueryError> {
    let (mut rows, mut examples) = (0, Vec::new());
    let mut batches = execute_stream(plan, task)?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        let more = (0..batch.num_rows()).map(|row| lake::shown(&batch.slice(row, 1)));
        examples.extend(more.take(EXAMPLES_MAX.saturating_sub(examples.len())));
    }
    Ok((rows, examples))
}

fn scan(name: &str, table: &Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder, QueryError> {
    let source = provider_as_source(Arc::clone(table));
    Ok(LogicalPlanBuilder::scan(TableReference::bare(name), source, None)?)
}

#[cfg(test)]
mod tests;
