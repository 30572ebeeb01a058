//! Where a new table may be: nowhere that it would share files with others.

use lake::LakeError;
use model::object::Object;

use crate::{error::QueryError, queries::Inner};

/// Refuses a LOCATION that a new object cannot have for itself, and one to which an object that is there
/// (`existing`) would move: its older versions would stay behind, and nobody would own them.
pub(super) async fn check(
    inner: &Inner,
    existing: Option<&Object>,
    location: &str,
) -> Result<(), QueryError> {
    if let Some(existing) = existing {
        return match existing.location() {
            Some(there) if there.trim_end_matches('/') == location.trim_end_matches('/') => Ok(()),
            there => Err(QueryError::Invalid(format!(
                "'{}' stays where it is, with its older versions: at {}, not at {location}; leave \
                 LOCATION out, or DROP it first",
                existing.name,
                there.unwrap_or("another place"),
            ))),
        };
    }
    match inner.options.lake.check_place_for_table(location).await {
        Err(LakeError::AlreadyExists { .. }) => Err(QueryError::Invalid(format!(
            "there is a Delta table at {location} already: name another place, or CREATE EXTERNAL TABLE \
             … USING DELTA LOCATION … without columns and query to use it as it is"
        ))),
        checked => Ok(checked?),
    }
}
