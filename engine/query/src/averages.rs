//! `avg` of decimals, rounded half away from zero as `/` is.
//!
//! DataFusion 55 cuts off what has no place in the answer: of 0, 0 and 2 it is 0.666666. Here sums and
//! counts are DataFusion's own, and only the last step is not. All other types are left as they are.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array},
    compute::cast,
    datatypes::{
        DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, DecimalType, FieldRef,
        UInt64Type, i256,
    },
};
use datafusion::{
    common::{Result, ScalarValue},
    functions_aggregate::average::Avg,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
        ReversedUDAF, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use crate::arithmetic::out_of_range;

/// The function, for the names that it has.
pub(crate) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(RoundedAvg(Avg::new())))
}

/// DataFusion's function, but for the last digit of a decimal.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundedAvg(Avg);

impl AggregateUDFImpl for RoundedAvg {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let (last, is_distinct) = (LastStep::new(&args), args.is_distinct);
        let sum = self.0.accumulator(args)?;
        Ok(match last {
            Some(last) => Box::new(Average { sum, last, is_distinct }),
            None => sum,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let last = LastStep::new(&args);
        let sums = self.0.create_groups_accumulator(args)?;
        Ok(match last {
            Some(last) => Box::new(GroupAverages { sums, last }),
            None => sums,
        })
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(arguments)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}

/// From a sum and a count to the average.
#[derive(Debug, Clone)]
struct LastStep {
    /// What the average is of, for the error.
    name: String,
    of: DataType,
    precision: u8,
    scale: i8,
}

impl LastStep {
    /// `None` for what is no decimal of 128 bits.
    fn new(args: &AccumulatorArgs<'_>) -> Option<Self> {
        let of = args.return_field.data_type().clone();
        let DataType::Decimal128(precision, scale) = of else { return None };
        Some(Self { name: args.name.to_owned(), of, precision, scale })
    }

    fn average(&self, sum: i256, sum_scale: i8, count: u64) -> Result<i128> {
        let more = u32::try_from(self.scale - sum_scale).unwrap_or(0);
        let average = || {
            let sum = sum.checked_mul(i256::from_i128(10_i128.checked_pow(more)?))?;
            let count = i256::from_i128(i128::from(count));
            let (cut, rest) = (sum.checked_div(count)?, sum.checked_rem(count)?);
            let is_half = rest.wrapping_abs() >= count.checked_sub(rest.wrapping_abs())?;
            let away = match (is_half, sum < i256::ZERO) {
                (false, _) => i256::ZERO,
                (true, false) => i256::ONE,
                (true, true) => i256::MINUS_ONE,
            };
            let average = cut.checked_add(away)?.to_i128()?;
            Decimal128Type::is_valid_decimal_precision(average, self.precision).then_some(average)
        };
        average().ok_or_else(|| {
            let shown = format!("a sum of {}", Decimal256Type::format_decimal(sum, 76, sum_scale));
            out_of_range(&self.name, &self.of, &shown)
        })
    }

    /// One for each group, of what the states of groups are.
    fn averages(&self, states: &[ArrayRef]) -> Result<Decimal128Array> {
        let (sums, sum_scale) = wide(&states[1])?;
        let sums = sums.as_primitive::<Decimal256Type>();
        let counts = states[0].as_primitive::<UInt64Type>();
        let averages = sums.iter().zip(counts).map(|(sum, count)| match (sum, count) {
            (Some(sum), Some(count)) if count > 0 => self.average(sum, sum_scale, count).map(Some),
            _ => Ok(None),
        });
        let averages: Decimal128Array = averages.collect::<Result<_>>()?;
        Ok(averages.with_data_type(self.of.clone()))
    }
}

/// Decimals as 256 bits, with their scale.
fn wide(sums: &ArrayRef) -> Result<(ArrayRef, i8)> {
    let scale = match sums.data_type() {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    Ok((cast(sums, &DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale))?, scale))
}

#[derive(Debug)]
struct Average {
    sum: Box<dyn Accumulator>,
    last: LastStep,
    is_distinct: bool,
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.sum.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.sum.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.sum.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.sum.state()?;
        let (mut sum, mut sum_scale, mut count) = (i256::ZERO, 0, 0);
        match state.as_slice() {
            // The values that are different from each other.
            [ScalarValue::List(values)] if self.is_distinct => {
                let (values, scale) = wide(values.values())?;
                let values = values.as_primitive::<Decimal256Type>();
                sum_scale = scale;
                for value in values.iter().flatten() {
                    sum = sum.wrapping_add(value);
                    count += 1;
                }
            }
            [ScalarValue::UInt64(Some(of)), all] if !all.is_null() => {
                let (all, scale) = wide(&all.to_array()?)?;
                (sum, sum_scale) = (all.as_primitive::<Decimal256Type>().value(0), scale);
                count = *of;
            }
            _ => {}
        }
        let average = match count {
            0 => None,
            count => Some(self.last.average(sum, sum_scale, count)?),
        };
        Ok(ScalarValue::Decimal128(average, self.last.precision, self.last.scale))
    }

    fn size(&self) -> usize {
        self.sum.size() + size_of::<Self>() + self.last.name.capacity()
    }
}

struct GroupAverages {
    sums: Box<dyn GroupsAccumulator>,
    last: LastStep,
}

impl GroupsAccumulator for GroupAverages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sums.update_batch(values, group_indices, filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.sums.merge_batch(values, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = self.sums.state(emit_to)?;
        Ok(Arc::new(self.last.averages(&states)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.sums.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.sums.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.sums.size() + self.last.name.capacity()
    }
}
