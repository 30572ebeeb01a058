//! REFRESH … NOTIFY: notifications that are kept until their jobs have ended.

use model::{id::NotificationId, job::Job, notification::NewNotification};

use crate::{error::QueryError, queries::Inner, session::Session};

/// Where notifications go that a statement asks for, if anything may be sent there.
pub(super) fn receiver(inner: &Inner, url: &str) -> Result<String, QueryError> {
    let Some(receivers) = &inner.options.receivers else {
        return Err(QueryError::Refused {
            problem: "NOTIFY is off: this server sends nothing to anybody".to_owned(),
            hint: "its configuration says whom it may send to: notify.allowed_hosts and \
                   notify.secret"
                .to_owned(),
        });
    };
    receivers.check(url)
}

/// Keeps one notification for each of the jobs.
///
/// It comes after the jobs: where it is refused, they are there and nobody is told of their end. The
/// error says so.
pub(super) async fn keep(
    inner: &Inner,
    session: &Session,
    jobs: &[Job],
    url: &str,
) -> Result<(), QueryError> {
    let open_max = inner.options.receivers.as_ref().map_or(0, |receivers| receivers.open_max());
    let requested_by = session.principal().name();
    let new: Vec<_> = jobs
        .iter()
        .map(|job| NewNotification {
            id: NotificationId::generate(),
            job: job.id,
            url: url.to_owned(),
            requested_by: requested_by.to_owned(),
        })
        .collect();
    let kept = inner.options.catalog.notify(&new, open_max, inner.options.clock.now()).await;
    kept.map_err(|source| QueryError::Unnotified {
        jobs: jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>().join(", "),
        source,
    })
}
