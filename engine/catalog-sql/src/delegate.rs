//! Gives an adapter's type the ports of the [`crate::SqlCatalog`] that it holds.

/// Implements every port for a type with a field `0` that is a [`crate::SqlCatalog`].
#[macro_export]
macro_rules! delegate_catalog {
    ($type:ty) => {
        $crate::delegate_catalog! { @port $type, catalog::objects::Objects:
            fn schemas() -> Vec<catalog::objects::Schema>;
            fn create_schema(schema: &catalog::objects::Schema) -> ();
            fn drop_schema(name: &str) -> ();
            fn put_object(object: &model::object::Object, on: catalog::objects::OnConflict)
                -> catalog::objects::Put;
            fn replace_objects(objects: &[model::object::Object]) -> ();
            fn drop_object(id: model::id::ObjectId, definition_version: i64) -> ();
            fn set_owner(id: model::id::ObjectId, definition_version: i64, owner: &str) -> ();
            fn set_policy(
                id: model::id::ObjectId,
                definition_version: i64,
                policy: &model::object::Policy,
            ) -> ();
            fn objects_named(names: &[model::name::ObjectName]) -> Vec<model::object::Object>;
            fn object(id: model::id::ObjectId) -> Option<model::object::Object>;
            fn objects() -> Vec<model::object::Object>;
            fn objects_version() -> i64;
        }
        $crate::delegate_catalog! { @port $type, catalog::jobs::Jobs:
            fn submit(jobs: &[model::job::NewJob], now: model::time::Timestamp)
                -> Vec<model::job::Job>;
            fn submit_once(
                key: &model::job::RequestKey,
                jobs: &[model::job::NewJob],
                now: model::time::Timestamp,
            ) -> Vec<model::job::Job>;
            fn jobs(filter: &catalog::jobs::JobFilter) -> Vec<model::job::Job>;
            fn reading(jobs: &[model::id::JobId])
                -> Vec<(model::id::JobId, catalog::jobs::Reading)>;
            fn last_due(objects: &[model::id::ObjectId], until: model::time::Timestamp)
                -> Vec<(model::id::ObjectId, model::time::Timestamp)>;
            fn last_refresh(object: model::id::ObjectId) -> Option<model::job::LastRun>;
            fn claim(
                worker: model::id::WorkerId,
                takes: &catalog::jobs::Takes,
                now: model::time::Timestamp,
                lease_for: std::time::Duration,
            ) -> Option<model::job::ClaimedRun>;
            fn pin(lease: &model::job::Lease, inputs: &[model::job::PinnedInput])
                -> Vec<model::job::PinnedInput>;
            fn pinned(run: model::id::RunId) -> Option<Vec<model::job::PinnedInput>>;
            fn pin_graph(lease: &model::job::Lease, inputs: &[model::job::PinnedInput])
                -> Vec<model::job::PinnedInput>;
            fn put_graph_output(lease: &model::job::Lease, output: &model::job::PinnedInput)
                -> ();
            fn graph_inputs(graphs: &[model::id::GraphId])
                -> Vec<(model::id::GraphId, model::job::PinnedInput)>;
            fn heartbeat(
                lease: &model::job::Lease,
                state: model::job::JobState,
                progress: &model::job::RunProgress,
                now: model::time::Timestamp,
                lease_for: std::time::Duration,
            ) -> model::job::LeaseState;
            fn finish(
                lease: &model::job::Lease,
                outcome: &model::job::RunOutcome,
                now: model::time::Timestamp,
            ) -> ();
            fn cancel(job: model::id::JobId, now: model::time::Timestamp) -> model::job::Job;
            fn approve(
                job: model::id::JobId,
                approval: &model::approval::Approval,
                now: model::time::Timestamp,
            ) -> model::job::Job;
            fn retry(job: model::id::JobId, now: model::time::Timestamp) -> model::job::Job;
            fn retry_failed(job: model::id::JobId, now: model::time::Timestamp)
                -> Vec<model::job::Job>;
            fn runs(jobs: Option<&[model::id::JobId]>, limit: u32) -> Vec<model::job::Run>;
            fn run(run: model::id::RunId) -> Option<model::job::Run>;
            fn run_inputs(runs: &[model::id::RunId])
                -> Vec<(model::id::RunId, model::job::PinnedInput)>;
        }
        $crate::delegate_catalog! { @port $type, catalog::notifications::Notifications:
            fn notify(
                new: &[model::notification::NewNotification],
                open_max: u64,
                now: model::time::Timestamp,
            ) -> ();
            fn claim_notifications(
                now: model::time::Timestamp,
                hold_for: std::time::Duration,
                limit: u32,
            ) -> Vec<catalog::notifications::DueNotification>;
            fn finish_notification(
                sent: &catalog::notifications::Try,
                ended: &catalog::notifications::TryEnded,
                now: model::time::Timestamp,
            ) -> bool;
            fn prune_notifications(until: model::time::Timestamp) -> ();
            fn notifications(limit: u32) -> Vec<model::notification::Notification>;
        }
        $crate::delegate_catalog! { @port $type, catalog::principals::Principals:
            fn add_user(user: &catalog::principals::User) -> ();
            fn set_password_hash(name: &str, password_hash: &str, scram_verifier: &str) -> bool;
            fn user(name: &str) -> Option<catalog::principals::User>;
            fn has_users() -> bool;
        }
        $crate::delegate_catalog! { @port $type, catalog::grants::Grants:
            fn drop_principal(name: &str) -> bool;
            fn users() -> Vec<String>;
            fn roles() -> Vec<String>;
            fn members() -> Vec<catalog::grants::Member>;
            fn create_role(name: &str) -> ();
            fn set_limits(role: &str, limits: &model::limits::RoleLimits) -> ();
            fn limits() -> std::collections::BTreeMap<String, model::limits::RoleLimits>;
            fn add_member(member: &catalog::grants::Member) -> ();
            fn remove_member(member: &catalog::grants::Member) -> bool;
            fn grant(grants: &[model::rights::Grant], by: &str, now: model::time::Timestamp) -> ();
            fn revoke(grants: &[model::rights::Grant]) -> u64;
            fn grants() -> Vec<catalog::grants::GivenGrant>;
            fn rights(name: &str) -> Option<model::rights::Rights>;
        }
        $crate::delegate_catalog! { @port $type, catalog::tokens::Tokens:
            fn create_token(token: &catalog::tokens::Token, digest: &str) -> ();
            fn drop_token(user: &str, name: &str) -> bool;
            fn tokens() -> Vec<catalog::tokens::Token>;
            fn use_token(digest: &str, now: model::time::Timestamp)
                -> Option<catalog::tokens::Token>;
        }
        $crate::delegate_catalog! { @port $type, catalog::audit::Audit:
            fn append_audit(records: &[model::audit::AuditRecord]) -> ();
            fn audit(principal: Option<&str>, before: Option<i64>, limit: u32)
                -> Vec<catalog::audit::StoredAudit>;
            fn prune_audit(until: model::time::Timestamp, keep: u64) -> ();
        }
        $crate::delegate_catalog! { @port $type, catalog::leaders::Leaders:
            fn lead(bid: &catalog::leaders::Bid, now: model::time::Timestamp)
                -> catalog::leaders::Leader;
            fn resign(role: &str, worker: model::id::WorkerId) -> ();
            fn leaders() -> Vec<catalog::leaders::Leader>;
        }
        $crate::delegate_catalog! { @port $type, catalog::verifications::Verifications:
            fn add_verification(verification: &catalog::verifications::Verification) -> ();
            fn verifications() -> Vec<catalog::verifications::StoredVerification>;
        }
        $crate::delegate_catalog! { @port $type, catalog::seal_keys::SealKeys:
            fn seal_keys(
                fresh: &model::secret::Secret,
                rotate_after: std::time::Duration,
                now: model::time::Timestamp,
            ) -> Vec<catalog::seal_keys::SealKey>;
        }
        impl catalog::Catalog for $type {
            fn describe(&self) -> String {
                catalog::Catalog::describe(&self.0)
            }

            fn is_shared(&self) -> bool {
                catalog::Catalog::is_shared(&self.0)
            }
        }
    };
    (@port $type:ty, $port:path:
        $(fn $method:ident($($arg:ident: $arg_type:ty),* $(,)?) -> $answer:ty;)*
    ) => {
        #[async_trait::async_trait]
        impl $port for $type {
            $(async fn $method(
                &self,
                $($arg: $arg_type),*
            ) -> Result<$answer, catalog::error::CatalogError> {
                <_ as $port>::$method(&self.0, $($arg),*).await
            })*
        }
    };
}
