//! Files of a place one by one: what was listed, before anything of them is read.

use std::{collections::BTreeSet, fmt, sync::Arc};

use glob::Pattern;
use model::{object::TableFormat, time::Timestamp};
use object_store::{ObjectMeta, ObjectStore, path::Path};
use url::Url;

use super::{Named, Wildcards, url_of};
use crate::{error::LakeError, hive::folder_values, lake::Lake};

/// A file as a listing of its store has told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    url: Url,
    pub(super) meta: ObjectMeta,
}

impl ListedFile {
    /// Where it is: an absolute URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Its bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.meta.size
    }

    /// When it was written last.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        Timestamp::from(self.meta.last_modified)
    }

    /// What its store calls its content, if it does.
    #[must_use]
    pub fn e_tag(&self) -> Option<&str> {
        self.meta.e_tag.as_deref()
    }

    pub(super) fn parsed_url(&self) -> &Url {
        &self.url
    }

    fn name(&self) -> &str {
        self.meta.location.filename().unwrap_or_default()
    }
}

/// The files of one place. Those without a byte are not among them.
#[derive(Clone)]
pub struct ListedFiles {
    pub(super) location: String,
    /// The folder below which folders may be named `column=value`.
    base: Path,
    files: Vec<ListedFile>,
    pub(super) store: Arc<dyn ObjectStore>,
}

impl fmt::Debug for ListedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedFiles")
            .field("location", &self.location)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl ListedFiles {
    /// The files, those first that were written first.
    #[must_use]
    pub fn files(&self) -> &[ListedFile] {
        &self.files
    }

    /// The place.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The same place with some of its files.
    #[must_use]
    pub fn only(self, files: Vec<ListedFile>) -> Self {
        Self { files, ..self }
    }

    /// What the files are, by how their names end.
    ///
    /// [`LakeError::FilesNotFound`] when there is none, and an error that names one when their names
    /// do not tell, or tell of several formats.
    pub fn format(&self) -> Result<TableFormat, LakeError> {
        let untold = |why: String| LakeError::FilesUntold { location: self.location.clone(), why };
        let mut found = BTreeSet::new();
        for file in &self.files {
            let Some(format) = format_of(file.name()) else {
                return Err(untold(format!("'{}' does not end as one of them does", file.url)));
            };
            found.insert(format.as_sql());
            if found.len() > 1 {
                let found: Vec<_> = found.into_iter().collect();
                return Err(untold(format!("some are {}", found.join(", others "))));
            }
        }
        match self.files.first().and_then(|file| format_of(file.name())) {
            Some(format) => Ok(format),
            None => Err(untold("there is no file yet".to_owned())),
        }
    }

    /// Columns that a file has by the names of its folders, with their values.
    pub(super) fn folder_values(&self, file: &ListedFile) -> Vec<(String, Option<String>)> {
        let Some(parts) = file.meta.location.prefix_match(&self.base) else { return Vec::new() };
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        folder_values(&parts.join("/"))
    }
}

/// What a file is by its name, with or without the ending of a compression.
pub(super) fn format_of(name: &str) -> Option<TableFormat> {
    let name = name.to_ascii_lowercase();
    let name = [".gz", ".zst", ".bz2", ".xz"]
        .into_iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "parquet" | "parq" | "pq" => Some(TableFormat::Parquet),
        "csv" | "tsv" => Some(TableFormat::Csv),
        "json" | "ndjson" | "jsonl" => Some(TableFormat::Json),
        _ => None,
    }
}

impl Lake {
    /// Lists the files of a place: a single file, all files of a folder and its subfolders, or those
    /// that a pattern matches; of them those whose names match `name_pattern`. None when there is
    /// nothing. One listing, whatever the number of files.
    pub async fn listed_files(
        &self,
        location: &str,
        name_pattern: Option<&str>,
    ) -> Result<ListedFiles, LakeError> {
        let pattern = name_pattern.map(Pattern::new).transpose();
        let pattern = pattern.map_err(|error| LakeError::Location {
            text: name_pattern.unwrap_or_default().to_owned(),
            why: format!("it is no pattern of names: {}", error.msg),
        })?;
        let place = self.place(location)?;
        let found = self.list_files(location).await?;
        let base = match &found.named {
            Named::File(_) => {
                let folders = place.path.parts().count().saturating_sub(1);
                place.path.parts().take(folders).collect()
            }
            Named::Folder(_) => place.path.clone(),
            Named::Matching(_) => Wildcards::of(location, &place.path)?
                .map_or_else(|| place.path.clone(), |wildcards| wildcards.folder),
        };
        let mut files: Vec<ListedFile> = found
            .metas
            .into_iter()
            .filter(|meta| meta.size > 0)
            .map(|meta| ListedFile { url: url_of(&place.url, &meta.location), meta })
            .filter(|file| pattern.as_ref().is_none_or(|pattern| pattern.matches(file.name())))
            .collect();
        files.sort_by(|a, b| {
            let key = |file: &ListedFile| file.meta.last_modified;
            key(a).cmp(&key(b)).then_with(|| a.meta.location.cmp(&b.meta.location))
        });
        Ok(ListedFiles { location: location.to_owned(), base, files, store: found.store })
    }
}
