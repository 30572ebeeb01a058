//! How the pages of data files are compressed: a property of the table, or zstd.

use model::object::Properties;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};

/// The property, by the name that it has in Delta and Spark.
pub(crate) const CODEC: &str = "delta.parquet.compression.codec";
/// What it may say. The older `LZ4` is none of them: readers disagree about how it is framed.
pub(crate) const MUST_BE: &str = "must be UNCOMPRESSED, SNAPPY, GZIP, LZ4_RAW or ZSTD";

/// The codec of that name, in any case; none for one that is not written here.
pub(crate) fn named(name: &str) -> Option<Compression> {
    Some(match name.to_ascii_uppercase().as_str() {
        "UNCOMPRESSED" | "NONE" => Compression::UNCOMPRESSED,
        "SNAPPY" => Compression::SNAPPY,
        "GZIP" => Compression::GZIP(GzipLevel::default()),
        "LZ4_RAW" => Compression::LZ4_RAW,
        "ZSTD" => Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()),
        _ => return None,
    })
}

/// How new files of a table with these properties are compressed. What others have set and is not
/// written here is no reason to refuse rows: files of one table may differ.
pub(crate) fn of(properties: &Properties) -> Compression {
    let asked = properties.get(CODEC).and_then(|name| named(name));
    asked.unwrap_or(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
}
