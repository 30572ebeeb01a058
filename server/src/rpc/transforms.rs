//! `whimbrel.v1.Transforms`.

use std::{fmt, sync::Arc};

use catalog::Catalog;
use proto::v1::{
    self, ApplyRequest, ApplyResponse, PlanRequest, PlanResponse, transforms_server::Transforms,
};
use query::{queries::Queries, session::Session};
use refresh::folder::{self, Change, ChangeKind, SourceFile, error::FolderError};
use tonic::{Request, Response, Status};

use super::convert;
use crate::{
    auth::Authenticator,
    error::{auth_status, compose, internal},
};

/// Parts of the service.
#[derive(Clone)]
pub struct TransformsOptions {
    /// Where definitions are compared and kept.
    pub catalog: Arc<dyn Catalog>,
    /// Runs the statements of the files.
    pub queries: Queries,
    /// Knows who asks.
    pub auth: Arc<Authenticator>,
}

impl fmt::Debug for TransformsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransformsOptions").finish_non_exhaustive()
    }
}

/// The service. Made by [`super::transforms_service`].
#[derive(Debug)]
pub struct TransformsService {
    options: TransformsOptions,
}

impl TransformsService {
    pub(super) fn new(options: TransformsOptions) -> Self {
        Self { options }
    }

    async fn session<T>(&self, request: &Request<T>) -> Result<Session, Status> {
        let (headers, connection) = (request.metadata(), request.extensions());
        let principal = self.options.auth.authenticate(headers, connection).await;
        Ok(Session::new(principal.map_err(|error| auth_status(&error))?))
    }
}

#[tonic::async_trait]
impl Transforms for TransformsService {
    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let session = self.session(&request).await?;
        let files = source_files(request.into_inner().files);
        let TransformsOptions { queries, catalog, .. } = &self.options;
        let plan = folder::plan(&session, queries, catalog.as_ref(), &files).await;
        let plan = plan.map_err(|error| folder_status(&error))?;
        Ok(Response::new(PlanResponse { changes: changes(plan.changes) }))
    }

    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let session = self.session(&request).await?;
        let files = source_files(request.into_inner().files);
        let TransformsOptions { queries, catalog, .. } = self.options.clone();
        // On its own: a client that goes away leaves no folder half applied.
        let apply = tokio::spawn(async move {
            folder::apply(&session, &queries, catalog.as_ref(), &files).await
        });
        let applied = apply
            .await
            .map_err(|error| internal("apply a folder", &error))?
            .map_err(|error| folder_status(&error))?;
        Ok(Response::new(ApplyResponse {
            changes: changes(applied.plan.changes),
            jobs: convert::jobs(&applied.jobs),
        }))
    }
}

fn source_files(files: Vec<v1::SourceFile>) -> Vec<SourceFile> {
    files.into_iter().map(|v1::SourceFile { path, text }| SourceFile { path, text }).collect()
}

fn changes(changes: Vec<Change>) -> Vec<v1::Change> {
    let changes = changes.into_iter();
    changes
        .map(|Change { kind, object, object_kind, path, detail }| v1::Change {
            kind: change_kind(kind).into(),
            object,
            object_kind: object_kind.to_owned(),
            path,
            detail,
        })
        .collect()
}

fn change_kind(kind: ChangeKind) -> v1::ChangeKind {
    match kind {
        ChangeKind::Added => v1::ChangeKind::Added,
        ChangeKind::Changed => v1::ChangeKind::Changed,
        ChangeKind::Unchanged => v1::ChangeKind::Unchanged,
        ChangeKind::Metadata => v1::ChangeKind::Metadata,
        ChangeKind::Removed => v1::ChangeKind::Removed,
    }
}

fn folder_status(error: &FolderError) -> Status {
    compose(error.code(), error.to_string(), error.hint(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_travels_under_its_own_name() {
        for kind in [
            ChangeKind::Added,
            ChangeKind::Changed,
            ChangeKind::Unchanged,
            ChangeKind::Metadata,
            ChangeKind::Removed,
        ] {
            let name = format!("CHANGE_KIND_{}", kind.as_str());
            assert_eq!(change_kind(kind).as_str_name(), name);
        }
    }
}
