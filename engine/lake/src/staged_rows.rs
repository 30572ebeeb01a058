//! Reads what a statement has staged, and the table as its commit would leave it.
//!
//! It exists so that rows can be checked against each other, keys above all, before anybody sees them.

use std::{collections::HashSet, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;

use crate::{
    edit::Edit,
    error::LakeError,
    lake::Lake,
    parquet_scan::nullable,
    snapshot::Snapshot,
    stage::{Effect, Staged, WriteMode},
    stored_rows::{AllRows, Folder, StoredFile, StoredRows},
};

impl Staged {
    /// The rows of the staged files alone: for a change of rows also those that were only copied
    /// from files that lose others. With the columns of [`Lake::staged_table`].
    ///
    /// The files stay while the provider is there, unless they are discarded or their commit fails.
    pub fn rows_provider(&self, lake: &Lake) -> Result<Arc<dyn TableProvider>, LakeError> {
        let (rows, _) = self.rows_of(lake)?;
        Ok(Arc::new(rows))
    }

    fn rows_of(&self, lake: &Lake) -> Result<(StoredRows, Folder), LakeError> {
        let base = self.base.as_ref().filter(|base| base.schema() == self.schema);
        let columns: SchemaRef = match base {
            Some(base) => base.provider()?.schema(),
            None => Arc::clone(&self.schema),
        };
        let schema = Arc::new(Schema::new(nullable(columns.fields())));
        let partitioned_by = match (&self.effect, &self.base) {
            (
                Effect::Write(
                    WriteMode::Create { partitioned_by, .. }
                    | WriteMode::Replace { partitioned_by, .. },
                ),
                _,
            ) => partitioned_by.as_slice(),
            (_, Some(base)) => base.partitioned_by(),
            (_, None) => &[],
        };
        let folder = Folder::new(lake, &self.place, schema, partitioned_by);
        let files = self.adds.iter().map(|add| {
            let action = serde_json::to_value(add).map_err(|source| {
                LakeError::internal("read the staged rows", self.place.text(), source)
            })?;
            folder.of_action(&action, self.base.as_ref().map_or(0, |base| base.version() + 1))
        });
        let files = files.collect::<Result<Vec<StoredFile>, LakeError>>()?;
        let rows = StoredRows::new(folder.clone(), files).of_area(Arc::clone(&self.area));
        Ok((rows, folder))
    }
}

impl Lake {
    /// The table as it would be if the staged files were committed to the version that they were
    /// staged for. The columns are nullable, of the types that the table's provider has.
    ///
    /// An append may be committed to a later version than that, with rows of others in it: whoever
    /// relies on what is here stages with [`WriteMode::Grow`], which lets nobody come between.
    pub fn staged_table(&self, staged: &Staged) -> Result<Arc<dyn TableProvider>, LakeError> {
        let (rows, folder) = staged.rows_of(self)?;
        let base = staged.base.as_ref();
        let stays = match (&staged.effect, base) {
            (Effect::Edit(edit), Some(base)) => remaining(base, edit, &folder)?,
            (Effect::Write(WriteMode::Append | WriteMode::Grow), Some(base)) => {
                let files = base.data_files()?;
                let of_version = |file| folder.of_version(&files, file, base.version());
                (0..files.len()).map(of_version).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        let schema = rows.schema();
        let mut parts: Vec<Arc<dyn TableProvider>> = Vec::new();
        if let (false, Some(base)) = (stays.is_empty(), base) {
            let stays = StoredRows::new(folder, stays).holding(vec![Arc::clone(base)]);
            parts.push(Arc::new(stays));
        }
        parts.push(Arc::new(rows));
        Ok(Arc::new(AllRows(parts, schema)))
    }
}

/// The files of the table that an edit leaves alone.
fn remaining(
    base: &Arc<Snapshot>,
    edit: &Edit,
    folder: &Folder,
) -> Result<Vec<StoredFile>, LakeError> {
    let gone: HashSet<&str> = edit.removes.iter().map(|remove| remove.path.as_str()).collect();
    let files = base.data_files()?;
    let mut stays = Vec::new();
    for file in 0..files.len() {
        if !gone.contains(files.remove(file, true).path.as_str()) {
            stays.push(folder.of_version(&files, file, base.version())?);
        }
    }
    Ok(stays)
}
