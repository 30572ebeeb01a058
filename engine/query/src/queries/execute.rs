//! A planned query runs: its turn, its plan, its time.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use datafusion::{
    execution::TaskContext,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties},
};
use futures::{StreamExt, TryStreamExt, stream};
use rt::cpu::{CpuRuntime, CpuTask};

use super::{Inner, PlanBody, Planned, Queries, Rows};
use crate::{
    bounds::{Bound, Bounds},
    error::QueryError,
    log::QueryToken,
    reins::{Ended, Work},
    stream::{Held, QueryStream},
    wire,
};

/// Batches that wait for a slow reader before the query pauses.
const BATCHES_IN_FLIGHT: usize = 4;

impl Queries {
    /// Waits for its turn and starts a planned query. Rows come as fast as they are taken;
    /// dropping the stream cancels the query. [`QueryError::Cancelled`] when somebody ended it.
    pub async fn execute(&self, planned: Planned) -> Result<QueryStream, QueryError> {
        let Planned { schema, body, bounds, token, recipe: _ } = planned;
        match self.begin(&token, body, &bounds, Arc::clone(&schema)).await {
            Ok((rows, held)) => Ok(QueryStream::new(schema, rows, token, bounds.counter(), held)),
            Err(error) => {
                token.failed(&error);
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        token: &QueryToken,
        body: PlanBody,
        bounds: &Bounds,
        schema: SchemaRef,
    ) -> Result<(Rows, Held), QueryError> {
        token.reins().goes_on()?;
        let _guard = self.inner.options.shutdown.guard(format!("query {}", token.id()));
        let (plan, task, runtime) = match body {
            PlanBody::Rows(batch) => {
                let rows = stream::iter([Ok(batch)]).boxed();
                return Ok((rows, Held { _permit: None, _guard, _time: None }));
            }
            PlanBody::Physical { plan, task, runtime } => (plan, task, runtime),
        };
        let permit = token.reins().unless_ended(self.inner.admission.admit(bounds)).await?;
        token.reins().watch(Work { plan: Arc::clone(&plan), staged: None });
        let rows = start(&runtime, plan, task, schema);
        let _time = self.inner.limit_time(token, bounds);
        Ok((rows, Held { _permit: Some(permit), _guard, _time }))
    }
}

/// Runs a plan, from its first step on where plans run.
fn start(
    runtime: &CpuRuntime,
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
    schema: SchemaRef,
) -> Rows {
    let begin = move || {
        // A plan with an order has one partition; the others may arrive in any order.
        let partitions = plan.output_partitioning().partition_count();
        let streams = (0..partitions).map(|n| {
            let schema = Arc::clone(&schema);
            let rows = plan.execute(n, Arc::clone(&task))?;
            Ok(rows.map_err(QueryError::from).and_then(move |batch| {
                let sent = wire::to_wire(&batch, &schema).map_err(QueryError::from);
                std::future::ready(sent)
            }))
        });
        streams.collect::<Result<Vec<_>, QueryError>>()
    };
    runtime.run(begin, BATCHES_IN_FLIGHT).boxed()
}

impl Inner {
    /// How long a statement may run, and the role that says so when it is not the server.
    fn run_time(&self, bounds: &Bounds) -> Option<(Duration, Option<Bound>)> {
        let server = self.options.limits.statement_timeout;
        let of_server = (!server.is_zero()).then_some((server, None));
        let of_role = bounds.run_time().map(|(limit, bound)| (limit, Some(bound)));
        [of_server, of_role].into_iter().flatten().min_by_key(|(limit, _)| *limit)
    }

    /// Ends a statement when its time is over, for as long as the result lives; also one whose
    /// client does not read.
    pub(super) fn limit_time(&self, token: &QueryToken, bounds: &Bounds) -> Option<CpuTask<()>> {
        let (limit, bound) = self.run_time(bounds)?;
        let (late, entry) = (self.options.clock.sleep(limit), token.entry());
        Some(self.control.spawn(async move {
            late.await;
            // What commits or has ended is left alone.
            let _ = entry.end(Ended::Late { limit, bound });
        }))
    }
}
