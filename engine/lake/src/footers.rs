//! Footers of Parquet files that somebody else has written, before the library reads them.
//!
//! The end of a file says how long its footer is. The library goes back as far, without asking
//! whether there is a file at all by then.

use std::{fmt, future::ready, sync::Arc};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

/// The length of the footer, then these bytes, end a file.
const MAGIC: &[u8; 4] = b"PAR1";
const ENDING: usize = 8;

/// A store whose Parquet files are looked at where their ends are read. Costs no request.
#[derive(Debug)]
pub(crate) struct Footers(pub(crate) Arc<dyn ObjectStore>);

impl fmt::Display for Footers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "footers in {}", self.0)
    }
}

/// Refuses the end of a file whose footer would be longer than the file.
fn check(location: &Path, end: &[u8], size: u64) -> Result<()> {
    let Some((_, ending)) = end.split_last_chunk::<ENDING>() else { return Ok(()) };
    let Some((length, magic)) = ending.split_first_chunk::<4>() else { return Ok(()) };
    let needed = u64::from(u32::from_le_bytes(*length)) + ENDING as u64;
    if magic != MAGIC || needed <= size {
        return Ok(());
    }
    let why = format!(
        "the file '{location}' has {size} bytes, and its end says that its footer alone has {needed}: \
         it was cut off, or is no Parquet file"
    );
    Err(object_store::Error::Generic { store: "Parquet", source: why.into() })
}

#[async_trait]
impl ObjectStore for Footers {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let reads_part = options.range.is_some() && !options.head;
        let found = self.0.get_opts(location, options).await?;
        if !reads_part || found.range.end != found.meta.size {
            return Ok(found);
        }
        let (meta, range) = (found.meta.clone(), found.range.clone());
        let attributes = found.attributes.clone();
        let bytes = found.bytes().await?;
        check(location, &bytes, meta.size)?;
        let payload = GetResultPayload::Stream(ready(Ok(bytes)).into_stream().boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.0.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
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

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_footer_that_is_longer_than_its_file_is_refused() {
        let file = Path::from("f.parquet");
        let ending = |length: u32| [&length.to_le_bytes()[..], MAGIC].concat();
        for (end, size, is_right) in [
            (b"PAR1PAR1".to_vec(), 8, false),
            (ending(0), 8, true),
            (ending(5), 12, false),
            (ending(5), 13, true),
            (b"something".to_vec(), 9, true),
            (b"PAR1".to_vec(), 4, true),
        ] {
            assert_eq!(check(&file, &end, size).is_ok(), is_right, "{end:?} of {size}");
        }
    }
}
