//! Proves, while rows are written, that no two of them have the same values in some columns.
//!
//! There are two ways, and both are begun with the first rows. By order: batches are cut into
//! stretches in which the values only grow, and steadily, and if no two stretches overlap, all values
//! differ; of rows that come in the order of their key, as those of most events do, it needs next to
//! nothing, also where several streams of them were mixed. By hash:
//! equal values have equal hashes, so rows with different ones differ; it needs 8 bytes for each
//! row. Neither says that values are repeated: whoever gets no proof asks the rows themselves.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, Range},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type, Schema},
    error::ArrowError,
    row::{RowConverter, Rows, SortField},
};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{floats::has_floats, row_hash::RowHasher};

/// After so many rows whose order is a proof so far their hashes are given up.
const BOTH_WAYS_ROWS: u64 = 1 << 20;
/// Of one stretch for fewer rows than this on the average the order is given up.
const STRETCH_ROWS_MIN: u64 = 256;
/// Of so many rows of one batch that grow, one more stretch is made at most.
const CUT_ROWS_MIN: usize = 1024;
/// A step between two rows is wide when it is at least this part of all steps together.
const WIDE: u128 = 16;
/// What stretches may take.
const STRETCHES_BYTES_MAX: usize = 32 << 20;
/// Hashes are kept apart by their first bits, so that parts of them can be sorted side by side.
const PARTS_BITS: u32 = 8;
/// Hashes may take this part of the memory of all statements.
const MEMORY_PART: usize = 4;

/// The columns whose values are to be distinct, taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinctColumns {
    /// Their names.
    pub columns: Vec<String>,
    /// Two NULLs are the same value; else a NULL in any of the columns ends the proof.
    pub nulls_equal: bool,
}

/// The proof of some columns, as far as it has come. Any number of tasks may add rows to it.
pub(crate) struct Distinct {
    columns: Vec<usize>,
    nulls_equal: bool,
    /// Their values can be taken for numbers, which is quicker.
    are_numbers: bool,
    converter: RowConverter,
    hasher: RowHasher,
    state: Mutex<State>,
}

struct State {
    rows: u64,
    order: Option<Order>,
    hashes: Option<Hashes>,
}

impl fmt::Debug for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distinct").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl Distinct {
    /// `None` where the columns of the rows allow no proof: some are missing, or have floating point
    /// numbers, of which equal ones can look different.
    pub(crate) fn new(
        schema: &Schema,
        wanted: &DistinctColumns,
        memory: &Arc<dyn MemoryPool>,
    ) -> Option<Self> {
        let columns: Vec<usize> =
            wanted.columns.iter().map(|name| schema.index_of(name).ok()).collect::<Option<_>>()?;
        let schema = schema.project(&columns).ok()?;
        if schema.fields().iter().any(|field| has_floats(field.data_type())) {
            return None;
        }
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Some(Self {
            columns,
            nulls_equal: wanted.nulls_equal,
            are_numbers: Numbers::can_be(&schema, wanted.nulls_equal),
            converter: RowConverter::new(fields.collect()).ok()?,
            hasher: RowHasher::new(&schema).ok()?,
            state: Mutex::new(State {
                rows: 0,
                order: Some(Order::default()),
                hashes: Some(Hashes::new(memory)),
            }),
        })
    }

    /// More rows.
    pub(crate) fn add(&self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (by_order, by_hash) = {
            let state = self.state.lock();
            (state.order.is_some(), state.hashes.is_some())
        };
        if !by_order && !by_hash {
            return Ok(());
        }
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|column| Arc::clone(batch.column(*column))).collect();
        let nulls_allowed = self.nulls_equal && !self.are_numbers;
        if !nulls_allowed && columns.iter().any(|column| column.logical_null_count() > 0) {
            let mut state = self.state.lock();
            (state.order, state.hashes) = (None, None);
            return Ok(());
        }
        let stretches = match by_order {
            true if self.are_numbers => {
                Some(Stretches::of(&Numbers::new(&columns, batch.num_rows())?))
            }
            true => Some(Stretches::of(&self.converter.convert_columns(&columns)?)),
            false => None,
        };
        let hashes = match by_hash {
            true => Some(self.hasher.each(&columns, batch.num_rows())?),
            false => None,
        };
        self.state.lock().add(batch.num_rows() as u64, stretches, hashes);
        Ok(())
    }

    /// Whether all rows are proved to have different values. To be asked once, after the last row.
    pub(crate) async fn is_proved(&self) -> bool {
        let (order, hashes) = {
            let mut state = self.state.lock();
            (state.order.take(), state.hashes.take())
        };
        match (order, hashes) {
            (Some(_), _) => true,
            (None, Some(hashes)) => hashes.differ().await,
            (None, None) => false,
        }
    }
}

impl State {
    fn add(&mut self, rows: u64, stretches: Option<Stretches>, hashes: Option<Vec<u64>>) {
        self.rows += rows;
        if let Some(order) = &mut self.order {
            let goes_on = stretches.is_some_and(|stretches| order.add(stretches));
            let few = order.stretches.len() as u64 <= 64 + self.rows / STRETCH_ROWS_MIN;
            if !goes_on || !few || order.bytes > STRETCHES_BYTES_MAX {
                self.order = None;
            }
        }
        if let Some(kept) = &mut self.hashes {
            let is_needed = self.order.is_none() || self.rows <= BOTH_WAYS_ROWS;
            let goes_on = hashes.is_some_and(|hashes| kept.add(&hashes));
            if !is_needed || !goes_on {
                self.hashes = None;
            }
        }
    }
}

/// First and last values of stretches of rows in which values only grow.
struct Stretches(Vec<(Bytes, Bytes)>);

/// The values of one row, which compare as their bytes do.
type Bytes = Box<[u8]>;

impl Stretches {
    fn of(values: &impl Ordered) -> Self {
        let mut stretches = Vec::new();
        for grown in runs(values) {
            let mut first = grown.start;
            for cut in wide_steps(values, &grown) {
                stretches.push((values.bytes(first), values.bytes(cut - 1)));
                first = cut;
            }
            stretches.push((values.bytes(first), values.bytes(grown.end - 1)));
        }
        Self(stretches)
    }
}

/// The longest runs of rows in which values only grow.
fn runs(values: &impl Ordered) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let count = values.count();
    let mut first = 0;
    for row in 1..=count {
        if row == count || !values.grows(row) {
            runs.push(first..row);
            first = row;
        }
    }
    runs
}

/// The rows in front of which values grow by a good part of what they grow by in the whole run:
/// there the rows of one stream may end and those of another begin, and what lies between them
/// comes in other batches.
fn wide_steps(values: &impl Ordered, run: &Range<usize>) -> Vec<usize> {
    let most = run.len() / CUT_ROWS_MIN;
    if most == 0 {
        return Vec::new();
    }
    let place = values.places(run);
    let mut before = place(run.start);
    let wide = (place(run.end - 1).saturating_sub(before) / WIDE).max(1);
    let mut steps: Vec<(u128, usize)> = Vec::new();
    for row in run.start + 1..run.end {
        let now = place(row);
        let step = now.saturating_sub(before);
        if step >= wide {
            steps.push((step, row));
        }
        before = now;
    }
    steps.sort_unstable_by(|a, b| b.cmp(a));
    let mut cuts: Vec<usize> = steps.into_iter().take(most).map(|(_, row)| row).collect();
    cuts.sort_unstable();
    cuts
}

/// The values of the rows of a batch, as far as their order goes.
trait Ordered {
    fn count(&self) -> usize;

    /// Whether the values of a row are greater than those of the row before.
    fn grows(&self, row: usize) -> bool;

    /// Where the values of each row of a run are on a line, about.
    fn places(&self, run: &Range<usize>) -> impl Fn(usize) -> u128;

    /// Compares as the values do.
    fn bytes(&self, row: usize) -> Bytes;
}

impl Ordered for Rows {
    fn count(&self) -> usize {
        self.num_rows()
    }

    fn grows(&self, row: usize) -> bool {
        self.row(row) > self.row(row - 1)
    }

    fn places(&self, run: &Range<usize>) -> impl Fn(usize) -> u128 {
        let (first, last) = (self.row(run.start), self.row(run.end - 1));
        // All rows of the run begin with the same bytes; those behind them, as far as a number goes.
        let shared = first.data().iter().zip(last.data()).take_while(|(a, b)| a == b).count();
        move |row| {
            let row = self.row(row);
            let mut number = [0; size_of::<u128>()];
            for (to, from) in number.iter_mut().zip(row.data().iter().skip(shared)) {
                *to = *from;
            }
            u128::from_be_bytes(number)
        }
    }

    fn bytes(&self, row: usize) -> Bytes {
        self.row(row).data().into()
    }
}

/// Values of one or two columns of whole numbers, of which each row is one number.
struct Numbers(Vec<u128>);

impl Numbers {
    /// Whether rows of these columns can be numbers: NULLs cannot.
    fn can_be(schema: &Schema, nulls_equal: bool) -> bool {
        use DataType::{Date32, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32};

        let fields = schema.fields();
        (1..=2).contains(&fields.len())
            && fields.iter().all(|field| {
                let is_whole = matches!(
                    field.data_type(),
                    Int8 | Int16
                        | Int32
                        | Int64
                        | UInt8
                        | UInt16
                        | UInt32
                        | Date32
                        | Timestamp(_, _)
                );
                is_whole && !(nulls_equal && field.is_nullable())
            })
    }

    fn new(columns: &[ArrayRef], rows: usize) -> Result<Self, ArrowError> {
        let mut numbers = vec![0_u128; rows];
        for column in columns {
            let column = cast(column, &DataType::Int64)?;
            for (number, value) in
                numbers.iter_mut().zip(column.as_primitive::<Int64Type>().values())
            {
                // The sign bit the other way round: negative numbers come first.
                *number = (*number << u64::BITS) | u128::from(value.cast_unsigned() ^ (1 << 63));
            }
        }
        Ok(Self(numbers))
    }
}

impl Ordered for Numbers {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn grows(&self, row: usize) -> bool {
        self.0[row] > self.0[row - 1]
    }

    fn places(&self, _: &Range<usize>) -> impl Fn(usize) -> u128 {
        |row| self.0[row]
    }

    fn bytes(&self, row: usize) -> Bytes {
        Box::new(self.0[row].to_be_bytes())
    }
}

/// Stretches of which no two overlap, by their first values.
#[derive(Default)]
struct Order {
    stretches: BTreeMap<Bytes, Bytes>,
    bytes: usize,
}

impl Order {
    /// Whether they overlap with none that are there.
    fn add(&mut self, more: Stretches) -> bool {
        for (first, last) in more.0 {
            let before =
                self.stretches.range::<[u8], _>((Bound::Unbounded, Bound::Included(&*first)));
            if before.last().is_some_and(|(_, end)| **end >= *first) {
                return false;
            }
            let after =
                self.stretches.range::<[u8], _>((Bound::Excluded(&*first), Bound::Unbounded));
            if after.into_iter().next().is_some_and(|(begin, _)| **begin <= *last) {
                return false;
            }
            self.bytes += first.len() + last.len() + size_of::<(Bytes, Bytes)>();
            self.stretches.insert(first, last);
        }
        true
    }
}

/// The hashes of all rows.
struct Hashes {
    parts: Vec<Vec<u64>>,
    memory: MemoryReservation,
    bytes_max: usize,
}

impl Hashes {
    fn new(memory: &Arc<dyn MemoryPool>) -> Self {
        let bytes_max = match memory.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes / MEMORY_PART,
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        };
        let parts = vec![Vec::new(); 1 << PARTS_BITS];
        let memory = MemoryConsumer::new("hashes of keys").register(memory);
        Self { parts, memory, bytes_max }
    }

    /// Whether there was memory for them.
    fn add(&mut self, hashes: &[u64]) -> bool {
        for hash in hashes {
            #[allow(clippy::cast_possible_truncation, reason = "fewer bits than a usize has")]
            let part = (hash >> (u64::BITS - PARTS_BITS)) as usize;
            self.parts[part].push(*hash);
        }
        let taken = self.parts.iter().map(|part| part.capacity() * size_of::<u64>()).sum();
        taken <= self.bytes_max && self.memory.try_resize(taken).is_ok()
    }

    /// Whether no two are equal. On as many threads as the runtime has.
    async fn differ(self) -> bool {
        let Self { parts, memory, .. } = self;
        let mut sorting = JoinSet::new();
        for mut part in parts {
            sorting.spawn(async move {
                part.sort_unstable();
                part.windows(2).all(|two| two[0] != two[1])
            });
        }
        let mut differ = true;
        while let Some(part) = sorting.join_next().await {
            differ &= matches!(part, Ok(true));
        }
        drop(memory);
        differ
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};
    use proptest::prelude::*;

    use super::*;

    fn unbounded() -> Arc<dyn MemoryPool> {
        Arc::new(UnboundedMemoryPool::default())
    }

    fn batch(values: &[(Option<i64>, &str)]) -> RecordBatch {
        let numbers: Int64Array = values.iter().map(|(number, _)| *number).collect();
        let texts: StringArray = values.iter().map(|(_, text)| Some(*text)).collect();
        let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers)), ("t", Arc::new(texts))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn key(columns: &[&str], nulls_equal: bool) -> DistinctColumns {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        DistinctColumns { columns, nulls_equal }
    }

    async fn proved(
        batches: &[RecordBatch],
        key: &DistinctColumns,
        pool: &Arc<dyn MemoryPool>,
    ) -> bool {
        let distinct = Distinct::new(batches[0].schema_ref(), key, pool).unwrap();
        for batch in batches {
            distinct.add(batch).unwrap();
        }
        distinct.is_proved().await
    }

    fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
        batch(&values.into_iter().map(|n| (Some(n), "")).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn values_in_order_need_no_memory() {
        let nothing: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(0));
        let n = key(&["n"], false);
        let later = numbers(500_000..600_000);
        // Batches of two tasks, in whichever order they come.
        assert!(
            proved(&[later.clone(), numbers(0..400_000), numbers(700_000..700_001)], &n, &nothing)
                .await
        );
        assert!(!proved(&[later.clone(), numbers([599_999])], &n, &nothing).await);
        assert!(!proved(&[later.clone(), numbers([500_000])], &n, &nothing).await);
        assert!(!proved(&[later, numbers([550_000])], &n, &nothing).await);
        assert!(!proved(&[numbers([1, 1])], &n, &nothing).await);
        // Texts come first: with the numbers beside them they grow.
        let both = batch(&[(Some(9), "a"), (Some(1), "b"), (Some(2), "b")]);
        assert!(proved(&[both], &key(&["t", "n"], false), &nothing).await);
    }

    #[tokio::test]
    async fn values_without_order_are_told_apart_by_hashes() {
        let n = key(&["n"], false);
        let mixed = |from: i64| (0..100_000).map(move |i| from + (i * 7_919) % 100_003);
        assert!(proved(&[numbers(mixed(0)), numbers(mixed(200_000))], &n, &unbounded()).await);
        assert!(!proved(&[numbers(mixed(0)), numbers([5])], &n, &unbounded()).await);
        // What there is no memory for is not proved.
        let little: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        assert!(!proved(&[numbers(mixed(0))], &n, &little).await);
        assert_eq!(little.reserved(), 0);
    }

    #[tokio::test]
    async fn streams_that_were_mixed_are_in_order_still() {
        let nothing: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(0));
        let n = key(&["n"], false);
        // Each batch has some rows of each of three streams, of which each is in order.
        let mixed = |at: i64| {
            let streams = [0, 10_000_000, 50_000_000].map(|from| from + at * 2_000);
            numbers(streams.into_iter().flat_map(|from| from..from + 2_000))
        };
        let batches: Vec<_> = (0..200).map(mixed).collect();
        assert!(proved(&batches, &n, &nothing).await);
        let again = [batches.as_slice(), &[numbers([10_000_777])]].concat();
        assert!(!proved(&again, &n, &nothing).await);
        // Keys of two columns, of which the second one starts anew with each value of the first.
        let lines = |from: i64| {
            let orders = (from..from + 1_500).chain(9_000_000 + from..9_001_500 + from);
            let rows = orders.flat_map(|order| ["1", "2", "3"].map(|line| (Some(order), line)));
            batch(&rows.collect::<Vec<_>>())
        };
        let batches: Vec<_> = (0..200).map(|at| lines(at * 1_500)).collect();
        assert!(proved(&batches, &key(&["n", "t"], false), &nothing).await);
    }

    #[tokio::test]
    async fn order_that_is_lost_late_is_no_proof() {
        let n = key(&["n"], false);
        let rows = i64::try_from(BOTH_WAYS_ROWS).unwrap() + 1;
        assert!(proved(&[numbers(0..rows), numbers([rows])], &n, &unbounded()).await);
        // It could be repeated: the hashes of the first rows are gone.
        assert!(!proved(&[numbers(0..rows), numbers([rows, -1, 7])], &n, &unbounded()).await);
    }

    #[tokio::test]
    async fn nulls_and_floating_point_numbers() {
        let one_null = batch(&[(Some(1), "a"), (None, "a")]);
        let two_nulls = batch(&[(None, "a"), (Some(1), "a"), (None, "a")]);
        assert!(!proved(std::slice::from_ref(&one_null), &key(&["n"], false), &unbounded()).await);
        assert!(proved(&[one_null], &key(&["n"], true), &unbounded()).await);
        assert!(!proved(&[two_nulls], &key(&["n"], true), &unbounded()).await);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0]));
        let floats = RecordBatch::try_from_iter([("f", floats)]).unwrap();
        assert!(Distinct::new(floats.schema_ref(), &key(&["f"], false), &unbounded()).is_none());
        assert!(Distinct::new(floats.schema_ref(), &key(&["g"], false), &unbounded()).is_none());
    }

    proptest! {
        /// A proof is never wrong, and is found for few rows whenever there is one.
        #[test]
        fn proved_exactly_where_values_differ(
            batches in prop::collection::vec(
                prop::collection::vec((prop::option::of(0..40_i64), "[a-c]{0,2}"), 1..12),
                1..5,
            ),
            nulls_equal: bool,
        ) {
            let rows: Vec<_> = batches.iter().flatten().collect();
            let differ = rows.iter().collect::<HashSet<_>>().len() == rows.len()
                && (nulls_equal || rows.iter().all(|(number, _)| number.is_some()));
            let batches: Vec<_> = batches
                .iter()
                .map(|rows| batch(&rows.iter().map(|(n, t)| (*n, t.as_str())).collect::<Vec<_>>()))
                .collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let proved = runtime.block_on(proved(&batches, &key(&["n", "t"], nulls_equal), &unbounded()));
            prop_assert_eq!(proved, differ);
        }

        /// So it is where rows are taken for numbers.
        #[test]
        fn proved_exactly_where_numbers_differ(
            batches in prop::collection::vec(
                prop::collection::vec(
                    (prop_oneof![-9..9_i64, Just(i64::MIN), Just(i64::MAX)], -3..3_i32),
                    1..12,
                ),
                1..5,
            ),
        ) {
            let rows: Vec<_> = batches.iter().flatten().collect();
            let differ = rows.iter().collect::<HashSet<_>>().len() == rows.len();
            let batches: Vec<_> = batches
                .iter()
                .map(|rows| {
                    let long: Int64Array = rows.iter().map(|(long, _)| Some(*long)).collect();
                    let short: Int32Array = rows.iter().map(|(_, short)| Some(*short)).collect();
                    let columns: [(&str, ArrayRef); 2] =
                        [("long", Arc::new(long)), ("short", Arc::new(short))];
                    RecordBatch::try_from_iter(columns).unwrap()
                })
                .collect();
            let key = key(&["long", "short"], false);
            assert!(Numbers::can_be(batches[0].schema_ref(), key.nulls_equal));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let is_proved = runtime.block_on(proved(&batches, &key, &unbounded()));
            prop_assert_eq!(is_proved, differ);
            // Without hashes a proof may be missed, never wrong.
            let nothing: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(0));
            prop_assert!(!runtime.block_on(proved(&batches, &key, &nothing)) || differ);
        }
    }
}
