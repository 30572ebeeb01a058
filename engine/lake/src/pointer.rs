//! `_last_checkpoint`, which names a new checkpoint so that readers need not list the whole log.
//!
//! It is a hint and no part of the table. The library takes its word all the same: where no checkpoint
//! is as new as it says, the library refuses the table, since it does not look whether the log is whole
//! without. That is looked at here, and then the table is read as if there were no hint.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    path::Path,
};
use serde_json::Value;

use crate::{error::LakeError, location::Place, log_cleanup::Listing};

/// Its name in the folder of the log.
pub(crate) const NAME: &str = "_last_checkpoint";

/// The version that it names, or why it names none; `None` when there is no such file.
pub(crate) async fn read(
    place: &Place,
) -> std::result::Result<Option<std::result::Result<i64, String>>, LakeError> {
    let failed = |source| LakeError::store("read the Delta log", place.text(), source);
    let bytes = match place.store.get(&Path::from(format!("_delta_log/{NAME}"))).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    Ok(Some(match serde_json::from_slice::<Value>(&bytes) {
        Err(error) => Err(format!("it cannot be parsed: {error}")),
        Ok(pointer) => {
            let version = pointer.get("version").and_then(Value::as_i64);
            version.ok_or_else(|| "it names no version".to_owned())
        }
    }))
}

/// Whether it names a checkpoint that is not there, and none that is newer is, while the log is whole
/// without it.
pub(crate) async fn misleads(place: &Place) -> std::result::Result<bool, LakeError> {
    let Some(Ok(version)) = read(place).await? else { return Ok(false) };
    let log = Listing::of(place).await?;
    Ok(!log.has_checkpoint_since(version) && log.first_readable().is_some())
}

/// The library's handle of the table's log, in which nobody finds the hint.
pub(crate) fn log_store_without(place: &Place) -> LogStoreRef {
    let without = |store: &Arc<dyn ObjectStore>| Arc::new(Without(Arc::clone(store)));
    default_logstore(
        without(&place.store),
        without(&place.root_store),
        &place.url,
        &StorageConfig::default(),
    )
}

/// A store in which there is no hint to read; a new one can be written.
#[derive(Debug)]
struct Without(Arc<dyn ObjectStore>);

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[async_trait]
impl ObjectStore for Without {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if location.filename() == Some(NAME) {
            let (path, source) = (location.to_string(), "it leads nowhere".into());
            return Err(Error::NotFound { path, source });
        }
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
