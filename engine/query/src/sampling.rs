//! `VERIFY … SAMPLE`: which rows of a result are compared.
//!
//! Both sides are asked for the rows whose key has a hash in one part of all hashes. What the hash is of
//! has to be the same on both sides to the last bit for equal rows, else a row would be in the sample of
//! one side alone: so columns with floating point numbers and maps choose nothing. The condition names
//! nothing but the key, so that planners take it below an aggregate by that key.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility, try_cast,
    },
};
use dialect::statement::Percent;
use lake::{KeySample, can_choose};
use model::transform::{FlowKind, KeyKind, Transform};

/// The rows of some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    percent: Percent,
    by: By,
}

/// What chooses the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    /// The values of a key, by the positions of its columns.
    Key(Vec<usize>),
    /// All values of a row that can choose.
    Row(Vec<usize>),
}

impl Sample {
    /// The sample of a transform's result with these columns, by its declared key, else by the keys of
    /// its events, else by what its query groups by, else by whole rows. Nothing where no column can
    /// choose.
    pub(crate) fn of(
        percent: Percent,
        view: &Transform,
        query: &LogicalPlan,
        columns: &SchemaRef,
    ) -> Option<Self> {
        let chooses = |position: &usize| {
            columns.fields().get(*position).is_some_and(|field| can_choose(field.data_type()))
        };
        let named = |names: &[String]| -> Vec<usize> {
            names.iter().filter_map(|name| columns.index_of(name).ok()).collect()
        };
        let primary = view.keys.iter().filter(|key| key.kind == KeyKind::Primary);
        let unique = view.keys.iter().filter(|key| matches!(key.kind, KeyKind::Unique { .. }));
        let declared = primary.chain(unique).map(|key| named(&key.columns));
        let of_events = view.flows.iter().filter_map(|flow| match &flow.kind {
            FlowKind::Changes(spec) => Some(named(&spec.keys)),
            FlowKind::Append => None,
        });
        let mut keys = declared.chain(of_events).chain([grouped_by(query)]).map(|mut key| {
            key.retain(chooses);
            key
        });
        let by = match keys.find(|key| !key.is_empty()) {
            Some(key) => By::Key(key),
            None => By::Row((0..columns.fields().len()).filter(chooses).collect()),
        };
        let sample = Self { percent, by };
        (!sample.positions().is_empty()).then_some(sample)
    }

    fn positions(&self) -> &[usize] {
        match &self.by {
            By::Key(positions) | By::Row(positions) => positions,
        }
    }

    /// The positions of the key's columns; nothing where rows are chosen by all that they have.
    pub(crate) fn key(&self) -> Option<&[usize]> {
        match &self.by {
            By::Key(positions) => Some(positions),
            By::Row(_) => None,
        }
    }

    /// Those rows of a plan that are in the sample, judged as values of these columns.
    pub(crate) fn within(&self, plan: LogicalPlan, columns: &SchemaRef) -> Result<LogicalPlan> {
        let all = plan.schema().columns();
        let keys = self.positions().iter().map(|position| {
            let wanted = columns.field(*position).data_type();
            let (Some(column), Some(field)) =
                (all.get(*position), plan.schema().fields().get(*position))
            else {
                return Err(DataFusionError::Internal(format!("there is no column {position}")));
            };
            let value = Expr::Column(column.clone());
            // What does not fit may be a row that is left out later on.
            let fits = field.data_type() == wanted;
            Ok(if fits { value } else { try_cast(value, wanted.clone()) })
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let sampled = ScalarUDF::new_from_impl(Sampled::new(self.percent));
        LogicalPlanBuilder::from(plan).filter(sampled.call(keys))?.build()
    }

    /// What was compared, for people. `keys` is how many keys the stored rows of the sample have.
    pub(crate) fn note(&self, columns: &SchemaRef, keys: Option<i64>) -> String {
        let percent = self.percent;
        let names =
            self.positions().iter().map(|position| columns.field(*position).name().as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        match keys {
            Some(keys) => format!(
                "a sample: only rows of {percent} percent of the keys ({names}) were compared, chosen by \
                 the hashes of the keys; {keys} of them are stored"
            ),
            None => format!(
                "a sample: only {percent} percent of the rows were compared, chosen by the hashes of \
                 their values ({names}), since no key is known"
            ),
        }
    }
}

/// The positions of those columns of a result that are plainly what its query groups by.
fn grouped_by(plan: &LogicalPlan) -> Vec<usize> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let grouped = &aggregate.group_expr;
            if grouped.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
                return Vec::new();
            }
            (0..grouped.len()).collect()
        }
        LogicalPlan::Filter(filter) => grouped_by(&filter.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => grouped_by(&sort.input),
        LogicalPlan::SubqueryAlias(alias) => grouped_by(&alias.input),
        LogicalPlan::Projection(projection) => {
            let below = grouped_by(&projection.input);
            let schema = projection.input.schema();
            let is_grouped = |expr: &Expr| match expr.clone().unalias() {
                Expr::Column(column) => {
                    schema.maybe_index_of_column(&column).is_some_and(|n| below.contains(&n))
                }
                _ => false,
            };
            let shown = projection.expr.iter().enumerate();
            shown.filter(|(_, expr)| is_grouped(expr)).map(|(n, _)| n).collect()
        }
        _ => Vec::new(),
    }
}

/// `sampled_key(value, …)`: whether a key is in the sample.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sampled {
    signature: Signature,
    per_million: u32,
}

impl Sampled {
    fn new(percent: Percent) -> Self {
        // The same key has the same answer, so planners may ask wherever the key is.
        let signature = Signature::variadic_any(Volatility::Immutable);
        Self { signature, per_million: percent.per_million() }
    }
}

impl ScalarUDFImpl for Sampled {
    fn name(&self) -> &'static str {
        "sampled_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let keys = args.args.iter().map(|key| key.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let types: Vec<_> = keys.iter().map(|key| key.data_type().clone()).collect();
        let picked = KeySample::new(&types, self.per_million)?.picks(&keys, rows)?;
        Ok(ColumnarValue::Array(Arc::new(picked)))
    }
}

#[cfg(test)]
mod tests;
