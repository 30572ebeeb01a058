//! `min` and `max` of floating point numbers, by the order in which they are sorted: `-Infinity`
//! first, NaN last.
//!
//! With GROUP BY, DataFusion 55 compares them as processors do. Nothing is less or greater than NaN
//! there, so what it answered depended on the order of the rows; and a group that had nothing but
//! `-Infinity` had a greatest number that is none of its own. Here each number is compared as the
//! whole number that has its place in the order (IEEE 754, totalOrder), which DataFusion does right.
//! A MAP, for which it has an internal error, is refused.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray},
    datatypes::{DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type},
};
use datafusion::{
    common::ScalarValue,
    error::{DataFusionError, Result},
    functions_aggregate::min_max::{Max, Min},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
        ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs, function::AccumulatorArgs,
        utils::AggregateOrderSensitivity,
    },
};

/// The two functions, for the names that they have.
pub(crate) fn functions() -> [Arc<AggregateUDF>; 2] {
    [
        Arc::new(AggregateUDF::new_from_impl(Extreme(Min::new()))),
        Arc::new(AggregateUDF::new_from_impl(Extreme(Max::new()))),
    ]
}

/// DataFusion's function, but for groups of floating point numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme<F>(F);

impl<F: AggregateUDFImpl + Eq + std::hash::Hash + 'static> AggregateUDFImpl for Extreme<F> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if arguments.iter().any(holds_map) {
            let name = self.name();
            return Err(DataFusionError::Plan(format!(
                "{name} takes no MAP, which has no order; write {name} of a value in it, such as \
                 {name}(m['key']), or of map_keys(m)"
            )));
        }
        self.0.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.0.accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let (width, key) = match args.return_field.data_type() {
            DataType::Float32 => (Width::Float32, DataType::Int32),
            DataType::Float64 => (Width::Float64, DataType::Int64),
            _ => return self.0.create_groups_accumulator(args),
        };
        let return_field = Arc::new(Field::new(args.return_field.name(), key, true));
        let keys = self.0.create_groups_accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(ByOrder { keys, width }))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.0.create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.0.is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(arguments)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.0.value_from_stats(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(data_type)
    }
}

/// Whether a type is a map or has one inside.
fn holds_map(of: &DataType) -> bool {
    match of {
        DataType::Map(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_map(field.data_type())),
        DataType::List(of)
        | DataType::LargeList(of)
        | DataType::ListView(of)
        | DataType::LargeListView(of)
        | DataType::FixedSizeList(of, _) => holds_map(of.data_type()),
        _ => false,
    }
}

#[derive(Debug, Clone, Copy)]
enum Width {
    Float32,
    Float64,
}

impl Width {
    /// The place of each number in the order.
    fn places(self, numbers: &ArrayRef) -> ArrayRef {
        match self {
            Self::Float32 => {
                let numbers = numbers.as_primitive::<Float32Type>();
                Arc::new(numbers.unary::<_, Int32Type>(|n| turned32(n.to_bits().cast_signed())))
            }
            Self::Float64 => {
                let numbers = numbers.as_primitive::<Float64Type>();
                Arc::new(numbers.unary::<_, Int64Type>(|n| turned64(n.to_bits().cast_signed())))
            }
        }
    }

    fn numbers(self, places: &ArrayRef) -> ArrayRef {
        match self {
            Self::Float32 => {
                let places = places.as_primitive::<Int32Type>();
                let number = |place| f32::from_bits(turned32(place).cast_unsigned());
                Arc::new(places.unary::<_, Float32Type>(number))
            }
            Self::Float64 => {
                let places = places.as_primitive::<Int64Type>();
                let number = |place| f64::from_bits(turned64(place).cast_unsigned());
                Arc::new(places.unary::<_, Float64Type>(number))
            }
        }
    }
}

/// The bits of a negative number are turned, but for its sign; and turned back.
fn turned32(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

fn turned64(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

/// Takes and gives numbers, and remembers places.
struct ByOrder {
    keys: Box<dyn GroupsAccumulator>,
    width: Width,
}

impl ByOrder {
    fn places(&self, numbers: &[ArrayRef]) -> Vec<ArrayRef> {
        numbers.iter().map(|numbers| self.width.places(numbers)).collect()
    }

    fn numbers(&self, places: &[ArrayRef]) -> Vec<ArrayRef> {
        places.iter().map(|places| self.width.numbers(places)).collect()
    }
}

impl GroupsAccumulator for ByOrder {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let places = self.places(values);
        self.keys.update_batch(&places, group_indices, filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        let places = self.places(values);
        self.keys.merge_batch(&places, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let places = self.keys.evaluate(emit_to)?;
        Ok(self.width.numbers(&places))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let places = self.keys.state(emit_to)?;
        Ok(self.numbers(&places))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let places = self.keys.convert_to_state(&self.places(values), filter)?;
        Ok(self.numbers(&places))
    }

    fn size(&self) -> usize {
        self.keys.size()
    }
}
