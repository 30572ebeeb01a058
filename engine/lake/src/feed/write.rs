//! Records the rows that a statement changes, beside the files that it writes.

use std::sync::Arc;

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch, StringArray},
    compute::{filter, filter_record_batch},
    datatypes::{DataType, Field, Int8Type, Int32Type, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    catalog::TableProvider,
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{ExecutionPlanProperties, stream::RecordBatchStreamAdapter},
};
use deltalake_core::kernel::{Add, AddCDCFile};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tokio::sync::mpsc;

use super::{AFTER, BEFORE, CHANGE_TYPE, DELETE, FEED_FOLDER, INSERT};
use crate::{
    change::{RowChange, parquet_options},
    error::LakeError,
    lake::Lake,
    named_rows::Touched,
    rows::TableRows,
    schema::Fit,
    stage::{Held, Target, Writing, run},
    staging::StagingArea,
};

/// Batches of changed rows that wait for their writer.
const WAITING_BATCHES: usize = 4;

/// What a running plan tells the feed.
pub(crate) struct FeedNotes {
    rows: Mutex<Option<mpsc::Sender<RecordBatch>>>,
    schema: SchemaRef,
    /// For each file, the rows that became others.
    updated: Vec<Mutex<RoaringBitmap>>,
}

impl FeedNotes {
    /// The row of the file becomes another.
    pub(crate) fn updates(&self, file: usize, row: u32) {
        if let Some(updated) = self.updated.get(file) {
            updated.lock().insert(row);
        }
    }

    /// Hands over the rows that `written` chose from a batch of changes. Waits while the writer is
    /// behind; that it failed is told by the writer.
    pub(crate) async fn send(
        &self,
        changes: &RecordBatch,
        rows: &RecordBatch,
        written: &BooleanArray,
    ) -> DataFusionResult<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let kinds = filter(changes.column(2), written)?;
        let kinds = kinds.as_primitive::<Int8Type>().values().iter();
        let kinds = kinds.map(|kind| if *kind == RowChange::Insert as i8 { INSERT } else { AFTER });
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(StringArray::from_iter_values(kinds)));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let sender = self.rows.lock().clone();
        if let Some(sender) = sender {
            let _ = sender.send(rows).await;
        }
        Ok(())
    }

    /// No more rows will come.
    pub(crate) fn close(&self) {
        self.rows.lock().take();
    }
}

/// Writes the files of a feed.
pub(crate) struct Feed {
    writing: Arc<Writing>,
    schema: SchemaRef,
    /// The columns of the table as a plan makes them, and what happened.
    planned: SchemaRef,
    rows: Option<mpsc::Receiver<RecordBatch>>,
    adds: Vec<Add>,
    held: Held,
}

impl Feed {
    /// `planned` are the columns of the table as the plan of changes makes them.
    pub(crate) fn new(
        lake: &Lake,
        target: &Target,
        planned: &Schema,
        area: &Arc<StagingArea>,
    ) -> Result<Self, LakeError> {
        let location = area.place().text();
        let planned = with_type(planned);
        let schema = with_type(&target.schema);
        let fit = Fit::new(&location, &planned, Arc::clone(&schema))?;
        let target = target.with_schema(Arc::clone(&schema));
        let writing = Writing::within(lake, &target, fit, Arc::clone(area), FEED_FOLDER)?;
        let (adds, held) = (Vec::new(), Held::default());
        Ok(Self { writing, schema, planned, rows: None, adds, held })
    }

    /// What the running plan is to tell, of a table with so many files.
    pub(crate) fn notes(&mut self, files: usize) -> FeedNotes {
        let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
        self.rows = Some(receiver);
        FeedNotes {
            rows: Mutex::new(Some(sender)),
            schema: Arc::clone(&self.planned),
            updated: (0..files).map(|_| Mutex::default()).collect(),
        }
    }

    /// Writes what the plan tells until that is closed.
    pub(crate) async fn follow(&mut self) -> Result<(), LakeError> {
        let Some(receiver) = self.rows.take() else { return Ok(()) };
        let rows = stream::unfold(receiver, |mut receiver| async move {
            let batch = receiver.recv().await?;
            Some((Ok(batch), receiver))
        });
        let rows = RecordBatchStreamAdapter::new(Arc::clone(&self.planned), rows);
        self.write(vec![Box::pin(rows)]).await
    }

    async fn write(&mut self, rows: Vec<SendableRecordBatchStream>) -> Result<(), LakeError> {
        let (adds, held) = run(&self.writing, rows, std::mem::take(&mut self.held)).await?;
        self.adds.extend(adds);
        self.held = held;
        Ok(())
    }

    /// Writes the rows as they were before, and ends the files.
    pub(crate) async fn finish(
        mut self,
        rows: &TableRows,
        touched: &Touched,
        notes: &FeedNotes,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<AddCDCFile>, LakeError> {
        let updated = notes.updated.iter().map(|rows| std::mem::take(&mut *rows.lock()));
        let gone = Arc::new(Gone { all: touched.clone(), updated: updated.collect() });
        let files: Vec<usize> = touched.keys().copied().collect();
        let failed = |error: DataFusionError| self.writing.query_error(error);
        let scan = rows
            .scan_files(&files, None, &task.runtime_env(), parquet_options(task))
            .map_err(failed)?;
        let config = task.session_config();
        let wider =
            scan.repartitioned(config.target_partitions(), config.options()).map_err(failed)?;
        let scan = wider.unwrap_or(scan);
        let stored = rows.schema().fields()[..self.schema.fields().len() - 1].to_vec();
        let stored = with_type(&Schema::new(stored));
        let location = self.writing.place().text();
        let fit = Fit::new(&location, &stored, Arc::clone(&self.schema))?;
        self.writing = Arc::new(self.writing.copying(fit));
        let mut before = Vec::new();
        for partition in 0..scan.output_partitioning().partition_count() {
            let rows = scan.execute(partition, Arc::clone(task));
            let rows = rows.map_err(|error| self.writing.query_error(error))?;
            let (gone, schema) = (Arc::clone(&gone), Arc::clone(&stored));
            let gone = rows.map(move |batch| gone.of(&batch?, &schema));
            let rows = RecordBatchStreamAdapter::new(Arc::clone(&stored), gone);
            before.push(Box::pin(rows) as SendableRecordBatchStream);
        }
        self.write(before).await?;
        let held = std::mem::take(&mut self.held);
        self.adds.extend(self.writing.flush(held).await?);
        Ok(self.adds.into_iter().map(recorded).collect())
    }
}

fn recorded(add: Add) -> AddCDCFile {
    AddCDCFile {
        path: format!("{FEED_FOLDER}/{}", add.path),
        size: add.size,
        partition_values: add.partition_values,
        data_change: false,
        tags: None,
    }
}

/// The columns, and what happened to the row.
fn with_type(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let kind = Field::new(CHANGE_TYPE, DataType::Utf8, true);
    Arc::new(Schema::new(fields.chain([kind]).collect::<Vec<_>>()))
}

/// Rows that go from their files.
struct Gone {
    all: Touched,
    updated: Vec<RoaringBitmap>,
}

impl Gone {
    /// Those of a batch that says where its rows are.
    fn of(&self, batch: &RecordBatch, schema: &SchemaRef) -> DataFusionResult<RecordBatch> {
        let columns: Vec<usize> = (0..schema.fields().len() - 1).collect();
        let files = batch.column(columns.len()).as_primitive::<Int32Type>();
        let rows = batch.column(columns.len() + 1).as_primitive::<Int64Type>();
        let mut chosen = Vec::with_capacity(batch.num_rows());
        let mut kinds = Vec::new();
        for (file, row) in files.values().iter().zip(rows.values()) {
            let place = usize::try_from(*file).ok().zip(u32::try_from(*row).ok());
            let gone = place
                .filter(|(file, row)| self.all.get(file).is_some_and(|rows| rows.contains(*row)));
            chosen.push(gone.is_some());
            if let Some((file, row)) = gone {
                let updated = self.updated.get(file).is_some_and(|rows| rows.contains(row));
                kinds.push(if updated { BEFORE } else { DELETE });
            }
        }
        let rows = filter_record_batch(&batch.project(&columns)?, &BooleanArray::from(chosen))?;
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(StringArray::from_iter_values(kinds)));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}
