//! What scans of Parquet files have in common.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Fields};
use datafusion::{
    catalog::Session, common::config::TableParquetOptions, datasource::listing::PartitionedFile,
};
use object_store::{ObjectMeta, path::Path};

use crate::snapshot::Snapshot;

/// A file in the folder of a table, without values of partitions.
pub(crate) fn stored_file(table: &Snapshot, within: &Path, size: u64) -> PartitionedFile {
    PartitionedFile::new_from_meta(ObjectMeta {
        location: Path::from_iter(table.path().parts().chain(within.parts())),
        // Files of a table never change, so their path is enough for caches to know them by.
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size,
        e_tag: None,
        version: None,
    })
}

/// The session's options of reading.
pub(crate) fn options_of(session: &dyn Session) -> TableParquetOptions {
    TableParquetOptions {
        global: session.config().options().execution.parquet.clone(),
        ..session.table_options().parquet.clone()
    }
}

/// The same columns, all nullable: a column that was added later is NULL in older files.
pub(crate) fn nullable(fields: &Fields) -> Vec<FieldRef> {
    fields.iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect()
}
