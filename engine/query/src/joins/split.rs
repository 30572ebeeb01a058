//! Rows are split into buckets on disk by a hash of their keys.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::SchemaRef,
    record_batch::RecordBatch,
};
use datafusion::{
    common::{
        hash_utils::{RandomState, create_hashes},
        utils::memory::get_record_batch_memory_size,
    },
    error::Result,
    execution::SpillFile,
    physical_expr::PhysicalExpr,
    physical_plan::SpillManager,
};

use super::build::Layout;

/// Into how many buckets rows are split at once: as many files are open, for each partition.
pub(super) const BUCKETS: usize = 16;
/// Rows and bytes that are split together. Fewer rows would make buckets of tiny batches.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 1 << 20;

/// The rows of one bucket of one side, if it has any.
pub(super) type File = Option<Arc<dyn SpillFile>>;

/// A file that is being written: takes a batch, or its end. DataFusion keeps the type to itself.
type Writer = Box<dyn FnMut(Option<&RecordBatch>) -> Result<File> + Send>;

/// One side of a join on its way to disk.
pub(super) struct Split {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    manager: SpillManager,
    /// Another one for each depth: what was alike by one hash is told apart by the next.
    hash: RandomState,
    /// Where NULL equals nothing, rows with such a key may be in any bucket, and so they are in all.
    spreads_nulls: bool,
    files: Vec<Option<Writer>>,
    rows: [usize; BUCKETS],
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    nulls: usize,
}

/// One side on disk.
pub(super) struct Splits {
    pub(super) files: Vec<File>,
    /// Rows of each.
    pub(super) rows: [usize; BUCKETS],
    /// Whether a row has a key that equals nothing.
    pub(super) has_nulls: bool,
}

impl Split {
    pub(super) fn new(
        keys: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
        layout: &Layout<'_>,
    ) -> Self {
        Self {
            keys,
            manager: layout.manager(Arc::clone(&schema)),
            schema,
            hash: RandomState::with_seed(0x5b1d_ce11 + u64::from(layout.depth)),
            spreads_nulls: layout.spreads_nulls(),
            files: (0..BUCKETS).map(|_| None).collect(),
            rows: [0; BUCKETS],
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            nulls: 0,
        }
    }

    /// Writes a batch, at the latest with the next ones.
    pub(super) fn write(mut self, batch: RecordBatch) -> Result<Self> {
        self.waiting_rows += batch.num_rows();
        self.waiting_bytes += get_record_batch_memory_size(&batch);
        self.waiting.push(batch);
        if self.waiting_rows >= BATCH_ROWS || self.waiting_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(self)
    }

    pub(super) fn finish(mut self) -> Result<Splits> {
        self.flush()?;
        let files = self.files.iter_mut().map(|file| match file {
            Some(file) => file(None),
            None => Ok(None),
        });
        let files = files.collect::<Result<_>>()?;
        Ok(Splits { files, rows: self.rows, has_nulls: self.nulls > 0 })
    }

    /// Whether a row that was split has a key that equals nothing.
    pub(super) fn has_nulls(&self) -> bool {
        self.nulls > 0
    }

    fn flush(&mut self) -> Result<()> {
        let batch = concat_batches(&self.schema, &self.waiting)?;
        self.waiting.clear();
        (self.waiting_rows, self.waiting_bytes) = (0, 0);
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let buckets = self.buckets(&batch)?;
        let mut counts = [0; BUCKETS];
        buckets.iter().for_each(|bucket| counts[*bucket] += 1);
        // Row numbers, bucket by bucket.
        let mut next = [0; BUCKETS];
        for bucket in 1..BUCKETS {
            next[bucket] = next[bucket - 1] + counts[bucket - 1];
        }
        let starts = next;
        let mut rows = vec![0_u32; buckets.len()];
        for (row, bucket) in (0_u32..).zip(&buckets) {
            rows[next[*bucket]] = row;
            next[*bucket] += 1;
        }
        let sorted = take_record_batch(&batch, &UInt32Array::from(rows))?;
        for bucket in (0..BUCKETS).filter(|bucket| counts[*bucket] > 0) {
            let file = match &mut self.files[bucket] {
                Some(file) => file,
                file => file.insert(writer(&self.manager)?),
            };
            file(Some(&sorted.slice(starts[bucket], counts[bucket])))?;
            self.rows[bucket] += counts[bucket];
        }
        Ok(())
    }

    /// The bucket of each row.
    fn buckets(&mut self, batch: &RecordBatch) -> Result<Vec<usize>> {
        let keys = self.keys.iter().map(|key| key.evaluate(batch)?.into_array(batch.num_rows()));
        let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
        let mut hashes = vec![0; batch.num_rows()];
        create_hashes(&keys, &self.hash, &mut hashes)?;
        let mut buckets: Vec<usize> =
            hashes.iter().map(|hash| (hash ^ (hash >> 32)) as usize % BUCKETS).collect();
        if self.spreads_nulls {
            for nulls in keys.iter().filter_map(|key| key.logical_nulls()) {
                for (bucket, _) in buckets.iter_mut().zip(&nulls).filter(|(_, is_valid)| !is_valid)
                {
                    *bucket = self.nulls % BUCKETS;
                    self.nulls += 1;
                }
            }
        }
        Ok(buckets)
    }
}

fn writer(manager: &SpillManager) -> Result<Writer> {
    let mut file = manager.create_in_progress_file("a bucket of a join")?;
    Ok(Box::new(move |batch| match batch {
        Some(batch) => file.append_batch(batch).map(|_| None),
        None => file.finish(),
    }))
}
