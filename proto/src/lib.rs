//! What travels over gRPC beside Flight SQL, as generated types.
//!
//! The `.proto` files are the contract; the code under `src/gen` is made from them and committed, so
//! that a build needs no compiler for them. It never holds logic. After a change of a `.proto` file
//! run `WHIMBREL_REGENERATE=1 cargo test -p whimbrel-proto`; without the variable the same test
//! fails when the two differ.

/// Version 1 of Whimbrel's own services: `whimbrel.v1.Jobs` and `whimbrel.v1.Transforms`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::clone_on_ref_ptr,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    unreachable_pub,
    missing_debug_implementations,
    reason = "generated code"
)]
pub mod v1 {
    include!("gen/whimbrel.v1.rs");
}

/// Descriptors of everything in this crate, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/whimbrel.v1.binpb");
