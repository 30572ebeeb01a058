//! Typed ids. Every id is a version 7 UUID, so ids sort by the time they were made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid {kind} id")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, unique for ever.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id as a UUID.
            #[must_use]
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text.trim())
                    .map(Self)
                    .map_err(|_| ParseIdError { kind: $kind, text: text.to_owned() })
            }
        }
    };
}

id!(
    /// Names a table, a view or a transform for the whole life of the object, whatever its name.
    ObjectId, "object"
);
id!(
    /// Names a job: one requested refresh.
    JobId, "job"
);
id!(
    /// Names a run: the execution of one job's transform.
    RunId, "run"
);
id!(
    /// Names a graph run: jobs that read each of their sources at one version.
    GraphId, "graph run"
);
id!(
    /// Names one statement in the query log.
    QueryId, "query"
);
id!(
    /// Names one worker process for as long as it lives.
    WorkerId, "worker"
);
id!(
    /// Names one message about the end of a job.
    NotificationId, "notification"
);
