//! `sum` of whole numbers and decimals, which fails where the type of its answer cannot hold it.
//!
//! In DataFusion 55 such a sum wraps around, and a decimal gets more digits than its type has. Here whole
//! numbers are added up as 128 bits: what counts is the sum and not the order in which rows come, and
//! numbers of a window that are added and taken away again leave nothing behind. Decimals of 38 digits
//! fail already where a sum on the way has no place in 128 bits. All other types are DataFusion's own.

use std::{
    collections::HashMap,
    mem::{size_of, size_of_val},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray,
    },
    buffer::NullBuffer,
    datatypes::{
        DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Field, FieldRef,
        Int64Type, UInt64Type,
    },
};
use datafusion::{
    common::{Result, ScalarValue},
    error::DataFusionError,
    functions_aggregate::sum::Sum,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, BinaryExpr, Documentation, EmitTo, Expr,
        GroupsAccumulator, Operator, ReversedUDAF, SetMonotonicity, Signature,
        expr::AggregateFunction,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::{AggregateOrderSensitivity, format_state_name},
    },
};

use crate::arithmetic::{operation, out_of_range};

/// The function, for the name that it has.
pub(crate) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(CheckedSum(Sum::new())))
}

/// DataFusion's function, but for the sums that it lets overflow.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum(Sum);

/// What is added up as 128 bits, by the type of the sum: the type that it has until it is complete.
fn on_the_way(of: &DataType) -> Option<DataType> {
    match of {
        DataType::Int64 | DataType::UInt64 => {
            Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
        }
        DataType::Decimal128(..) => Some(of.clone()),
        _ => None,
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some(total) = Total::new(&args) else { return self.0.accumulator(args) };
        if !args.is_distinct {
            return Ok(Box::new(total));
        }
        Ok(Box::new(DistinctTotal { values: self.0.accumulator(args)?, total }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match on_the_way(args.return_type()) {
            Some(state) if !args.is_distinct => {
                let name = format_state_name(args.name, "sum");
                Ok(vec![Arc::new(Field::new(name, state, true))])
            }
            _ => self.0.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match Total::new(&args) {
            Some(total) => Ok(Box::new(GroupTotals::new(total))),
            None => self.0.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        match Total::new(&args) {
            Some(total) if !args.is_distinct => Ok(Box::new(total)),
            Some(total) if total.of == DataType::Int64 => {
                Ok(Box::new(SlidingDistinctTotal { counts: HashMap::new(), total }))
            }
            _ => self.0.create_sliding_accumulator(args),
        }
    }

    fn simplify_expr_op_literal(
        &self,
        function: &AggregateFunction,
        arg: &Expr,
        op: Operator,
        literal: &Expr,
        is_arg_left: bool,
    ) -> Result<Option<Expr>> {
        // As the sum of one side and so many times the other, of whole numbers: checked as well.
        let is_whole = matches!(literal, Expr::Literal(ScalarValue::Int64(Some(_)), _));
        if !is_whole {
            return Ok(None);
        }
        let parts = self.0.simplify_expr_op_literal(function, arg, op, literal, is_arg_left)?;
        let Some(Expr::BinaryExpr(BinaryExpr { left, op, right })) = parts else {
            return Ok(None);
        };
        let Expr::BinaryExpr(BinaryExpr { left: times, op: by, right: count }) = *right else {
            return Ok(None);
        };
        Ok(operation(*times, by, *count).and_then(|right| operation(*left, op, right)))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(data_type)
    }
}

/// A sum that is complete, or on its way.
#[derive(Debug, Clone)]
struct Total {
    /// What is added up, for the error.
    name: String,
    of: DataType,
    state: DataType,
    sum: i128,
    /// Values in it.
    count: u64,
}

impl Total {
    fn new(args: &AccumulatorArgs<'_>) -> Option<Self> {
        let of = args.return_field.data_type().clone();
        let state = on_the_way(&of)?;
        Some(Self { name: args.name.to_owned(), of, state, sum: 0, count: 0 })
    }

    fn add(&mut self, values: &Decimal128Array) -> Result<()> {
        let sum = values.iter().flatten().try_fold(self.sum, i128::checked_add);
        self.sum = sum.ok_or_else(|| self.overflow())?;
        self.count += (values.len() - values.null_count()) as u64;
        Ok(())
    }

    fn overflow(&self) -> DataFusionError {
        out_of_range(&self.name, &self.of, "more than 128 bits")
    }

    /// A sum that is complete.
    fn within(&self, sum: i128) -> Result<i128> {
        let fits = match self.of {
            DataType::Int64 => i64::try_from(sum).is_ok(),
            DataType::UInt64 => u64::try_from(sum).is_ok(),
            DataType::Decimal128(precision, scale) => {
                if !Decimal128Type::is_valid_decimal_precision(sum, precision) {
                    // With all of its digits, of which it has too many.
                    let shown = Decimal128Type::format_decimal(sum, u8::MAX, scale);
                    return Err(out_of_range(&self.name, &self.of, &shown));
                }
                true
            }
            _ => false,
        };
        if fits { Ok(sum) } else { Err(out_of_range(&self.name, &self.of, &sum.to_string())) }
    }

    fn value(&self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.of);
        }
        let sum = self.within(self.sum)?;
        Ok(match self.of {
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(Some(sum), precision, scale)
            }
            DataType::UInt64 => ScalarValue::UInt64(u64::try_from(sum).ok()),
            _ => ScalarValue::Int64(i64::try_from(sum).ok()),
        })
    }

    /// Sums that are complete, one for each group.
    fn values(&self, sums: &Decimal128Array) -> Result<ArrayRef> {
        for sum in sums.iter().flatten() {
            self.within(sum)?;
        }
        Ok(match self.of {
            DataType::Int64 => Arc::new(sums.unary::<_, Int64Type>(|sum| sum as i64)),
            DataType::UInt64 => Arc::new(sums.unary::<_, UInt64Type>(|sum| sum as u64)),
            _ => Arc::new(sums.clone()),
        })
    }
}

/// Values as they are added up.
fn widened(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>();
            Arc::new(values.unary::<_, Decimal128Type>(i128::from))
        }
        DataType::UInt64 => {
            let values = values.as_primitive::<UInt64Type>();
            Arc::new(values.unary::<_, Decimal128Type>(i128::from))
        }
        _ => Arc::clone(values),
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(widened(&values[0]).as_primitive())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(states[0].as_primitive())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = widened(&values[0]);
        let values = values.as_primitive::<Decimal128Type>();
        let sum = values.iter().flatten().try_fold(self.sum, i128::checked_sub);
        self.sum = sum.ok_or_else(|| self.overflow())?;
        self.count -= (values.len() - values.null_count()) as u64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = (self.count > 0).then_some(self.sum);
        Ok(vec![ScalarValue::new_primitive::<Decimal128Type>(sum, &self.state)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.value()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.name.capacity()
    }
}

/// The sum of different values, which DataFusion keeps apart.
#[derive(Debug)]
struct DistinctTotal {
    values: Box<dyn Accumulator>,
    total: Total,
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = self.total.clone();
        for state in self.values.state()? {
            if let ScalarValue::List(list) = state {
                total.add(widened(list.values()).as_primitive())?;
            }
        }
        total.value()
    }

    fn size(&self) -> usize {
        self.values.size() + self.total.size()
    }
}

/// The sum of different whole numbers in a window that moves.
#[derive(Debug)]
struct SlidingDistinctTotal {
    /// How often each is in the window.
    counts: HashMap<i64, u64>,
    total: Total,
}

impl Accumulator for SlidingDistinctTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Int64Type>().iter().flatten() {
            let count = self.counts.entry(value).or_default();
            if *count == 0 {
                self.total.sum += i128::from(value);
                self.total.count += 1;
            }
            *count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Int64Type>().iter().flatten() {
            let Some(count) = self.counts.get_mut(&value) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&value);
                self.total.sum -= i128::from(value);
                self.total.count -= 1;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(DataFusionError::Internal("sums of windows are not merged".to_owned()))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(DataFusionError::Internal("sums of windows are not merged".to_owned()))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.total.value()
    }

    fn size(&self) -> usize {
        self.total.size() + self.counts.capacity() * size_of::<(i64, u64)>()
    }
}

/// A sum for each group.
#[derive(Debug)]
struct GroupTotals {
    sums: Vec<i128>,
    /// Whether a group has a value at all.
    found: Vec<bool>,
    of: Total,
}

impl GroupTotals {
    fn new(of: Total) -> Self {
        Self { sums: Vec::new(), found: Vec::new(), of }
    }

    fn add<T>(
        &mut self,
        values: &PrimitiveArray<T>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) -> Result<()>
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i128>,
    {
        let mut overflowed = false;
        let mut add = |group: usize, value: T::Native| {
            let (sum, is_over) = self.sums[group].overflowing_add(value.into());
            self.sums[group] = sum;
            self.found[group] = true;
            overflowed |= is_over;
        };
        if values.null_count() == 0 && filter.is_none() {
            for (group, value) in groups.iter().zip(values.values()) {
                add(*group, *value);
            }
        } else {
            for (row, group) in groups.iter().enumerate() {
                let is_wanted = filter.is_none_or(|of| of.is_valid(row) && of.value(row));
                if is_wanted && values.is_valid(row) {
                    add(*group, values.value(row));
                }
            }
        }
        if overflowed { Err(self.of.overflow()) } else { Ok(()) }
    }

    /// Takes sums out, complete or on their way.
    fn taken(&mut self, emit_to: EmitTo) -> Decimal128Array {
        let sums = emit_to.take_needed(&mut self.sums);
        let found = NullBuffer::from(emit_to.take_needed(&mut self.found));
        Decimal128Array::new(sums.into(), Some(found)).with_data_type(self.of.state.clone())
    }
}

impl GroupsAccumulator for GroupTotals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.sums.resize(count, 0);
        self.found.resize(count, false);
        let values = &values[0];
        match values.data_type() {
            DataType::Int64 => self.add::<Int64Type>(values.as_primitive(), groups, filter),
            DataType::UInt64 => self.add::<UInt64Type>(values.as_primitive(), groups, filter),
            _ => self.add::<Decimal128Type>(values.as_primitive(), groups, filter),
        }
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.taken(emit_to);
        self.of.values(&sums)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(self.taken(emit_to))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = widened(&values[0]);
        let values = values.as_primitive::<Decimal128Type>();
        let wanted = filter.map(|filter| {
            let wanted: Vec<bool> = filter.iter().map(|wanted| wanted == Some(true)).collect();
            NullBuffer::from(wanted)
        });
        let nulls = NullBuffer::union(values.nulls(), wanted.as_ref());
        let state = Decimal128Array::new(values.values().clone(), nulls);
        Ok(vec![Arc::new(state.with_data_type(self.of.state.clone()))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.found.capacity() + self.of.name.capacity()
    }
}

#[cfg(test)]
mod tests;
