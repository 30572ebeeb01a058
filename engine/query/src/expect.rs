//! Expectations: what the rows of a transform's result are expected to be.
//!
//! They are evaluated once, on the batches that go to the writers, in the same plan and at the same
//! number of threads. A row passes an expectation only where its condition is TRUE. It is counted
//! for each one that it does not pass, and the strictest of them decides what becomes of it. Nothing
//! is decided here about publishing: whoever stages the rows asks [`Gate::failure`] first.

mod gate;
mod quarantine;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::filter_record_batch,
    datatypes::{DataType, Schema, SchemaRef},
};
use datafusion::{
    common::{ToDFSchema, tree_node::TreeNode},
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan},
    physical_expr::PhysicalExpr,
    physical_plan::{ColumnarValue, ExecutionPlan},
    sql::sqlparser::{
        dialect::GenericDialect,
        keywords::Keyword,
        tokenizer::{Token, Tokenizer},
    },
};
use model::{
    id::{ObjectId, RunId},
    report::{ExpectationResult, RunReport},
    time::Timestamp,
    transform::{Expectation, OnViolation},
};
use parking_lot::Mutex;

pub(crate) use gate::Gates;
use gate::above;
pub use quarantine::{EXPECTATIONS, QUARANTINED_AT, RUN_ID};
use quarantine::{Entrance, Quarantine};

use crate::{
    command::target::{changes_with_time, physical_of},
    error::QueryError,
    numbers,
    violation::{Violation, ViolationKind},
};

/// Rows that an error shows.
const EXAMPLES_MAX: usize = 3;

/// An expectation that is planned over the columns of a result.
#[derive(Debug)]
pub(crate) struct Condition {
    expectation: Expectation,
    expr: Arc<dyn PhysicalExpr>,
    /// The columns that it names, for what an error shows.
    columns: Vec<usize>,
}

/// Plans expectations over the columns of a result. What cannot be evaluated row by row, always
/// with the same answer, is refused.
pub(crate) fn conditions(
    state: &SessionState,
    columns: &SchemaRef,
    expectations: &[Expectation],
) -> Result<Vec<Condition>, QueryError> {
    expectations.iter().map(|expectation| condition(state, columns, expectation)).collect()
}

fn condition(
    state: &SessionState,
    columns: &SchemaRef,
    expectation: &Expectation,
) -> Result<Condition, QueryError> {
    let Expectation { name, condition, .. } = expectation;
    let refused =
        |why: &str| Err(QueryError::Invalid(format!("expectation '{name}' ({condition}) {why}")));
    if has_query(condition) {
        return refused(
            "has a subquery: it is asked of each row by itself; what belongs to other rows is \
             for the query, or for a FOREIGN KEY",
        );
    }
    let schema = Arc::clone(columns).to_dfschema()?;
    let expr = match numbers::expression(state, condition, &schema) {
        Ok(expr) => expr,
        Err(error) => {
            return refused(&format!("cannot be evaluated: {}", QueryError::from(error)));
        }
    };
    if expr.exists(|expr| Ok(matches!(expr, Expr::AggregateFunction(_))))? {
        return refused("has an aggregate: it is asked of each row by itself");
    }
    if expr.exists(|expr| Ok(matches!(expr, Expr::WindowFunction(_))))? {
        return refused("has a window function: it is asked of each row by itself");
    }
    if changes_with_time(&expr)? {
        return refused(
            "calls a function whose answer changes with time: \
             the same row has to be judged alike by every run",
        );
    }
    let mut used: Vec<usize> = expr
        .column_refs()
        .into_iter()
        .filter_map(|column| columns.index_of(&column.name).ok())
        .collect();
    used.sort_unstable();
    let planned = match physical_of(state, expr, &schema) {
        Ok(planned) => planned,
        Err(error) => {
            return refused(&format!("cannot be evaluated: {}", QueryError::from(error)));
        }
    };
    let data_type = planned.data_type(columns)?;
    if !matches!(data_type, DataType::Boolean | DataType::Null) {
        return refused(&format!("is no condition: it is {data_type}, not true or false"));
    }
    Ok(Condition { expectation: expectation.clone(), expr: planned, columns: used })
}

/// Whether a text has a query in it. Told by its words, since planning it would first of all look
/// for tables.
pub(crate) fn has_query(text: &str) -> bool {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().unwrap_or_default();
    tokens.iter().any(|token| {
        matches!(token, Token::Word(word) if word.quote_style.is_none()
            && matches!(word.keyword, Keyword::SELECT | Keyword::EXISTS))
    })
}

/// Refuses expectations of which a result with these columns could not keep the promise.
pub(crate) fn check(
    state: &SessionState,
    columns: &SchemaRef,
    expectations: &[Expectation],
) -> Result<(), QueryError> {
    for (n, expectation) in expectations.iter().enumerate() {
        if expectations[..n].iter().any(|other| other.name == expectation.name) {
            return Err(QueryError::Invalid(format!(
                "two expectations are named '{}'",
                expectation.name
            )));
        }
    }
    conditions(state, columns, expectations)?;
    if has_quarantine(expectations) {
        quarantine::check(columns)?;
    }
    Ok(())
}

/// Whether rows may have to go to a quarantine.
#[must_use]
pub fn has_quarantine(expectations: &[Expectation]) -> bool {
    expectations.iter().any(|each| each.on_violation == OnViolation::Quarantine)
}

/// The run that rows are quarantined by.
#[derive(Debug, Clone, Copy)]
pub struct Quarantining {
    /// Its id.
    pub run: RunId,
    /// When it computed.
    pub at: Timestamp,
}

/// The number of a condition, and the rows that do not pass it.
type Fails = (usize, BooleanBuffer);

/// What all rows of a result pass on their way to the writers. Counts while they do.
pub struct Gate {
    expectations: Vec<Expectation>,
    /// Names of the columns that the conditions name.
    columns: Vec<String>,
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    rows_dropped: AtomicU64,
    rows_quarantined: AtomicU64,
    violated: Vec<AtomicU64>,
    /// A row has failed the run: from then on rows are only counted.
    is_shut: AtomicBool,
    /// Of each condition that fails the run, some rows that did.
    examples: Mutex<Vec<Vec<String>>>,
    quarantine: Option<Quarantine>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.expectations.iter().map(|each| &each.name).collect();
        f.debug_struct("Gate").field("expectations", &names).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate for rows with these columns; `None` where nothing is expected of them.
    pub(crate) fn new(
        state: &SessionState,
        columns: &SchemaRef,
        expectations: &[Expectation],
        quarantining: Quarantining,
    ) -> Result<Option<Arc<Self>>, QueryError> {
        if expectations.is_empty() {
            return Ok(None);
        }
        check(state, columns, expectations)?;
        let streams = state.config().target_partitions();
        let quarantine =
            has_quarantine(expectations).then(|| Quarantine::new(columns, quarantining, streams));
        Ok(Some(Arc::new(Self {
            expectations: expectations.to_vec(),
            columns: columns.fields().iter().map(|field| field.name().clone()).collect(),
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            rows_dropped: AtomicU64::new(0),
            rows_quarantined: AtomicU64::new(0),
            violated: expectations.iter().map(|_| AtomicU64::new(0)).collect(),
            is_shut: AtomicBool::new(false),
            examples: Mutex::new(vec![Vec::new(); expectations.len()]),
            quarantine,
        })))
    }

    /// The plan of the rows that go to the quarantine, once; `None` where none can, and when it was
    /// taken before.
    ///
    /// It has to run beside the plan of the result, which waits for it; it ends with
    /// [`Gate::close`].
    #[must_use]
    pub fn quarantine_plan(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.quarantine.as_ref()?.plan()
    }

    /// The columns of the quarantine, where rows can go to one.
    pub(crate) fn quarantine_columns(&self) -> Option<SchemaRef> {
        self.quarantine.as_ref().map(Quarantine::columns)
    }

    /// No more rows come: all of the result's have gone through, or never will.
    pub fn close(&self) {
        if let Some(quarantine) = &self.quarantine {
            quarantine.close();
        }
    }

    /// What came and what became of it, so far.
    #[must_use]
    pub fn report(&self) -> RunReport {
        let count = |of: &AtomicU64| Some(of.load(Ordering::Acquire));
        let results = self.expectations.iter().zip(&self.violated);
        RunReport {
            rows_in: count(&self.rows_in),
            rows_out: count(&self.rows_out),
            rows_dropped: count(&self.rows_dropped),
            rows_quarantined: count(&self.rows_quarantined),
            expectations: results
                .map(|(expectation, violated)| ExpectationResult {
                    name: expectation.name.clone(),
                    on_violation: expectation.on_violation,
                    violated: violated.load(Ordering::Acquire),
                })
                .collect(),
            ..RunReport::default()
        }
    }

    /// Why the run has to fail, if rows violate an expectation that says so.
    #[must_use]
    pub fn failure(&self) -> Option<Violation> {
        if !self.is_shut.load(Ordering::Acquire) {
            return None;
        }
        let examples = self.examples.lock();
        let mut found = Vec::new();
        let mut shown = Vec::new();
        for ((expectation, violated), examples) in
            self.expectations.iter().zip(&self.violated).zip(examples.iter())
        {
            let Expectation { name, condition, on_violation } = expectation;
            let rows = violated.load(Ordering::Acquire);
            if *on_violation != OnViolation::Fail || rows == 0 {
                continue;
            }
            let do_not = if rows == 1 { "row does not" } else { "rows do not" };
            found.push(format!(
                "{rows} {do_not} meet the expectation '{name}' ({condition}), which is ON \
                 VIOLATION FAIL UPDATE"
            ));
            shown.extend(examples.iter().cloned());
        }
        Some(Violation {
            kind: ViolationKind::Expectation,
            text: found.join("; "),
            examples: shown,
            hint: "nothing was published; correct what the query reads, or the query, or let \
                   such rows be dropped or quarantined: ON VIOLATION DROP ROW, QUARANTINE ROW"
                .to_owned(),
        })
    }

    /// The way to the quarantine for one partition of the result.
    fn entrance(&self, partition: usize) -> Option<Entrance> {
        self.quarantine.as_ref()?.entrance(partition)
    }

    /// What goes on of a batch.
    async fn pass(
        &self,
        rows: RecordBatch,
        conditions: &[Condition],
        entrance: Option<&Entrance>,
    ) -> Result<RecordBatch, DataFusionError> {
        let count = rows.num_rows();
        add(&self.rows_in, count);
        let mut violations: Vec<Fails> = Vec::new();
        for (n, condition) in conditions.iter().enumerate() {
            let Some(fails) = condition.failing(&rows)? else { continue };
            add(&self.violated[n], fails.count_set_bits());
            violations.push((n, fails));
        }
        if violations.is_empty() {
            return Ok(self.out(rows));
        }
        // The strictest first: a row goes where the first of them sends it.
        let mut taken: Option<BooleanBuffer> = None;
        for what in [OnViolation::Fail, OnViolation::Quarantine, OnViolation::Drop] {
            let Some(fails) = self.any_of(what, &violations) else { continue };
            let these = match &taken {
                Some(taken) => &fails & &!taken,
                None => fails,
            };
            let found = these.count_set_bits();
            match what {
                OnViolation::Fail => {
                    self.is_shut.store(true, Ordering::Release);
                    self.show(conditions, &violations, &rows)?;
                }
                OnViolation::Quarantine => {
                    add(&self.rows_quarantined, found);
                    if found > 0 && !self.is_shut.load(Ordering::Acquire) {
                        self.divert(&rows, these.clone(), &violations, entrance).await?;
                    }
                }
                OnViolation::Drop => add(&self.rows_dropped, found),
                OnViolation::Keep => {}
            }
            taken = Some(match &taken {
                Some(taken) => taken | &these,
                None => these,
            });
        }
        match taken {
            Some(taken) if taken.count_set_bits() > 0 => {
                let kept = BooleanArray::new(!&taken, None);
                Ok(self.out(filter_record_batch(&rows, &kept)?))
            }
            _ => Ok(self.out(rows)),
        }
    }

    /// Rows that violate any of the expectations with that consequence.
    fn any_of(&self, what: OnViolation, violations: &[Fails]) -> Option<BooleanBuffer> {
        let of_it = violations
            .iter()
            .filter(|(n, _)| self.expectations[*n].on_violation == what)
            .map(|(_, fails)| fails.clone());
        of_it.reduce(|one, other| &one | &other)
    }

    async fn divert(
        &self,
        rows: &RecordBatch,
        which: BooleanBuffer,
        violations: &[Fails],
        entrance: Option<&Entrance>,
    ) -> Result<(), DataFusionError> {
        let names: Vec<_> = violations
            .iter()
            .map(|(n, fails)| (self.expectations[*n].name.as_str(), fails))
            .collect();
        let Some(entrance) = entrance else {
            return Err(DataFusionError::Internal(
                "the quarantine was closed before its rows had come".to_owned(),
            ));
        };
        entrance.send(rows, which, &names).await
    }

    /// Rows that go on; once the run has to fail, none do.
    fn out(&self, rows: RecordBatch) -> RecordBatch {
        add(&self.rows_out, rows.num_rows());
        match self.is_shut.load(Ordering::Acquire) {
            true => rows.slice(0, 0),
            false => rows,
        }
    }

    /// Keeps some rows for the error.
    fn show(
        &self,
        conditions: &[Condition],
        violations: &[Fails],
        rows: &RecordBatch,
    ) -> Result<(), DataFusionError> {
        let mut examples = self.examples.lock();
        for (n, fails) in violations {
            let Condition { expectation, columns, .. } = &conditions[*n];
            if expectation.on_violation != OnViolation::Fail {
                continue;
            }
            let examples = &mut examples[*n];
            for row in fails.set_indices().take(EXAMPLES_MAX.saturating_sub(examples.len())) {
                examples.push(lake::shown(&rows.project(columns)?.slice(row, 1)));
            }
        }
        Ok(())
    }
}

impl Condition {
    /// The rows that do not pass; `None` when all do.
    fn failing(&self, rows: &RecordBatch) -> Result<Option<BooleanBuffer>, DataFusionError> {
        let count = rows.num_rows();
        let value = self.expr.evaluate(rows).map_err(|error| self.blame(error))?;
        let passes = match value {
            ColumnarValue::Scalar(value) => {
                let is_true = value == datafusion::common::ScalarValue::Boolean(Some(true));
                return Ok((!is_true && count > 0).then(|| BooleanBuffer::new_set(count)));
            }
            ColumnarValue::Array(values) => match values.as_boolean_opt() {
                Some(values) if values.null_count() == 0 && !values.has_false() => return Ok(None),
                Some(values) => match values.nulls() {
                    Some(valid) => values.values() & valid.inner(),
                    None => values.values().clone(),
                },
                // A column of NULLs: nothing of it is TRUE.
                None => BooleanBuffer::new_unset(count),
            },
        };
        let fails = !&passes;
        Ok((fails.count_set_bits() > 0).then_some(fails))
    }

    fn blame(&self, error: DataFusionError) -> DataFusionError {
        if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) {
            return error;
        }
        let Expectation { name, condition, .. } = &self.expectation;
        let why = QueryError::from(error);
        DataFusionError::Execution(format!(
            "expectation '{name}' ({condition}) cannot be evaluated: {why}"
        ))
    }
}

fn add(to: &AtomicU64, rows: usize) {
    to.fetch_add(rows as u64, Ordering::AcqRel);
}

/// Rows of a result that go through its gate, whatever they are computed by. The columns are the
/// result's, in their order; their names and exact types may be others.
pub(crate) fn watched(
    state: &SessionState,
    plan: LogicalPlan,
    gate: Option<&Arc<Gate>>,
) -> Result<LogicalPlan, QueryError> {
    let Some(gate) = gate else { return Ok(plan) };
    let fields = plan.schema().fields().iter().zip(&gate.columns);
    let named = fields.map(|(field, name)| field.as_ref().clone().with_name(name));
    let columns = Arc::new(Schema::new(named.collect::<Vec<_>>()));
    let conditions = conditions(state, &columns, &gate.expectations)?;
    Ok(above(plan, Arc::clone(gate), conditions.into()))
}

/// The application under which the commits of a transform say which version of its quarantine
/// belongs to them.
#[must_use]
pub fn quarantine_app_id(object: ObjectId) -> String {
    format!("whimbrel:{object}:sibling:quarantine")
}

/// The folder of the quarantine that belongs to a transform with its table in this one.
#[must_use]
pub fn quarantine_location(of: &str) -> String {
    format!("{}__quarantine/", of.trim_end_matches('/'))
}

#[cfg(test)]
mod tests;
