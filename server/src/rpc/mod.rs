//! The services of `whimbrel.v1`, for programs that prefer gRPC to SQL.
//!
//! They are a second front of the same doors: jobs are submitted and cancelled as the statements
//! that do so, folders are applied as `refresh::folder` does it. They hold no state.

mod convert;
mod jobs;
mod name;
mod transforms;

use proto::v1::{jobs_server::JobsServer, transforms_server::TransformsServer};

pub use jobs::{JobsOptions, JobsService};
pub use transforms::{TransformsOptions, TransformsService};

/// Bytes of one request: a folder of transforms travels in one.
const REQUEST_SIZE_MAX: usize = 16 << 20;

/// `whimbrel.v1.Jobs`, ready to be added to a tonic server.
#[must_use]
pub fn jobs_service(options: JobsOptions) -> JobsServer<JobsService> {
    JobsServer::new(JobsService::new(options)).max_decoding_message_size(REQUEST_SIZE_MAX)
}

/// `whimbrel.v1.Transforms`, ready to be added to a tonic server.
#[must_use]
pub fn transforms_service(options: TransformsOptions) -> TransformsServer<TransformsService> {
    TransformsServer::new(TransformsService::new(options))
        .max_decoding_message_size(REQUEST_SIZE_MAX)
}
