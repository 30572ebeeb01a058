//! The one path of a statement: text, names, snapshot, plan, admission, rows.
//!
//! Every protocol enters through [`queries::Queries`] and no statement runs anywhere else. This
//! crate plans with DataFusion over tables that `lake` opened at one version each; it never opens
//! a file itself, never writes one except through `lake`, and never sees a protocol.

mod admit;
mod answer;
mod arithmetic;
pub mod audit;
mod authorize;
mod averages;
mod barrier;
mod bounds;
mod caller;
mod cancel;
mod care;
mod clustering;
mod command;
mod copies;
pub mod credentials;
pub mod definition;
pub mod describe;
pub mod error;
pub mod expect;
mod extremes;
pub mod fault;
mod folders;
mod graph;
mod growing;
pub mod handles;
pub mod history;
pub mod incremental;
pub mod ingest;
mod joins;
mod kept;
pub mod keys;
pub mod known;
mod like;
pub mod log;
mod maintenance;
mod memory;
pub mod nearest;
pub mod notify;
mod null_keys;
mod numbers;
pub mod options;
mod parts;
mod pause;
mod plan;
mod planning;
pub mod postgres;
pub mod queries;
mod ranges;
mod read_files;
pub mod recipe;
pub mod reins;
pub mod release;
mod resolve;
mod rounding;
mod same_names;
mod sampling;
pub mod session;
mod share;
mod sides;
mod size;
mod sorts;
mod spill;
mod stand_ins;
pub mod stream;
pub mod streaming;
mod subqueries;
pub mod substrait;
mod sums;
mod system;
mod times;
pub mod transaction;
pub mod transform;
mod truths;
mod untyped;
mod upkeep;
pub mod verification;
pub mod violation;
mod windows;
pub mod wire;

pub use arrow::{
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
pub use datafusion::{execution::TaskContext, physical_plan::ExecutionPlan};

/// Version of the planner and executor, for people who ask what is inside.
pub const DATAFUSION_VERSION: &str = datafusion::DATAFUSION_VERSION;
