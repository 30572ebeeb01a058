//! Messages of Substrait, as generated types: what `datafusion-substrait` reads plans with.
//!
//! The crate of this name on crates.io generates them while it is built and needs `protoc` for it,
//! which not everybody has. So this one takes its place (`[patch.crates-io]` in the root's
//! Cargo.toml): the same `.proto` files, and the code that is made from them, committed. It never holds
//! logic. `WHIMBREL_REGENERATE=1 cargo test -p whimbrel-proto` writes the code anew.

/// The package `substrait`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::clone_on_ref_ptr,
    clippy::allow_attributes_without_reason,
    rustdoc::broken_intra_doc_links,
    rustdoc::bare_urls,
    rustdoc::invalid_html_tags,
    unused_qualifications,
    unreachable_pub,
    missing_debug_implementations,
    reason = "generated code"
)]
pub mod proto {
    /// The package `substrait.extensions`.
    pub mod extensions {
        include!("gen/substrait.extensions.rs");
    }

    include!("gen/substrait.rs");
}

/// The version of Substrait that the `.proto` files are of.
pub mod version {
    use crate::proto::Version;

    /// The first of its three numbers.
    pub const SUBSTRAIT_MAJOR_VERSION: u32 = 0;
    /// The second one.
    pub const SUBSTRAIT_MINOR_VERSION: u32 = 85;
    /// The third one.
    pub const SUBSTRAIT_PATCH_VERSION: u32 = 0;

    /// As a message, without a producer.
    #[must_use]
    pub fn version() -> Version {
        Version {
            major_number: SUBSTRAIT_MAJOR_VERSION,
            minor_number: SUBSTRAIT_MINOR_VERSION,
            patch_number: SUBSTRAIT_PATCH_VERSION,
            ..Version::default()
        }
    }

    /// As a message that names its producer.
    #[must_use]
    pub fn version_with_producer(producer: impl Into<String>) -> Version {
        Version { producer: producer.into(), ..version() }
    }
}
