//! Messages about the ends of jobs.

use std::time::Duration;

use model::{
    code::Code,
    id::{JobId, NotificationId},
    job::{JobState, RunOutcome},
    notification::{NewNotification, Notification, NotificationState},
};

use super::{
    fixture::{C, at, claim, failed, queued, succeeded},
    suite,
};
use crate::{
    error::CatalogError,
    notifications::{DueNotification, Try, TryEnded},
};

suite![
    a_notification_waits_for_the_end_of_its_job,
    every_end_is_told,
    who_dies_while_sending_leaves_it_to_others,
    a_try_that_failed_comes_again_when_its_time_has_come,
    what_is_over_is_never_sent_again,
    a_job_that_is_retried_is_told_again,
    no_more_wait_than_may,
    a_notification_of_no_job_is_refused,
    notifications_are_listed_newest_first,
    who_asks_again_is_not_told_twice,
    what_is_over_for_long_is_forgotten,
];

const HOLD: Duration = Duration::from_secs(30);
const OPEN_MAX: u64 = 1000;

fn new(job: JobId, url: &str) -> NewNotification {
    let (id, requested_by) = (NotificationId::generate(), "ada".to_owned());
    NewNotification { id, job, url: url.to_owned(), requested_by }
}

/// Keeps one notification of a job.
async fn kept(catalog: &C, job: JobId) -> NotificationId {
    let new = new(job, "https://host/it's?a=1");
    catalog.notify(std::slice::from_ref(&new), OPEN_MAX, at(0)).await.unwrap();
    new.id
}

async fn due(catalog: &C, now: i64) -> Vec<DueNotification> {
    catalog.claim_notifications(at(now), HOLD, 10).await.unwrap()
}

async fn all(catalog: &C) -> Vec<Notification> {
    catalog.notifications(100).await.unwrap()
}

async fn succeed(catalog: &C, now: i64) {
    let claimed = claim(catalog, at(now)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(now)).await.unwrap();
}

async fn a_notification_waits_for_the_end_of_its_job(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let id = kept(&catalog, job.id).await;
    assert_eq!(due(&catalog, 1).await, []);
    let waiting = all(&catalog).await.remove(0);
    assert_eq!((waiting.id, waiting.state), (id, NotificationState::Waiting));
    assert_eq!((waiting.next_attempt_at, waiting.attempts), (None, 0));
    succeed(&catalog, 2).await;
    assert_eq!(all(&catalog).await[0].state, NotificationState::Sending);
    let found = due(&catalog, 3).await.remove(0);
    assert_eq!((found.sent, found.job.state), (Try { id, attempt: 1 }, JobState::Succeeded));
    assert_eq!((found.job.id, found.url.as_str()), (job.id, "https://host/it's?a=1"));
    let recorded = catalog.finish_notification(&found.sent, &TryEnded::Delivered, at(4)).await;
    assert!(recorded.unwrap());
    let delivered = all(&catalog).await.remove(0);
    assert_eq!((delivered.state, delivered.attempts), (NotificationState::Delivered, 1));
    assert_eq!((delivered.finished_at, delivered.next_attempt_at), (Some(at(4)), None));
    assert_eq!((delivered.job, delivered.object_name), (job.id, job.object_name));
}

async fn every_end_is_told(catalog: C) {
    for (n, outcome) in (0_i64..).zip([
        succeeded(1),
        RunOutcome::SkippedNoChange { output_version: 1 },
        RunOutcome::Cancelled,
        failed(Code::Internal),
    ]) {
        let job = queued(&catalog, &format!("t{n}"), &[]).await;
        kept(&catalog, job.id).await;
        let claimed = claim(&catalog, at(n)).await;
        catalog.finish(&claimed.lease, &outcome, at(n)).await.unwrap();
        let found = due(&catalog, n).await;
        assert_eq!(found.iter().map(|due| due.job.id).collect::<Vec<_>>(), [job.id], "{outcome:?}");
        let sent = found[0].sent;
        assert!(catalog.finish_notification(&sent, &TryEnded::Delivered, at(n)).await.unwrap());
    }
    // One that never had a worker.
    let job = queued(&catalog, "queued", &[]).await;
    kept(&catalog, job.id).await;
    catalog.cancel(job.id, at(9)).await.unwrap();
    assert_eq!(due(&catalog, 9).await[0].job.state, JobState::Cancelled);
}

async fn who_dies_while_sending_leaves_it_to_others(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let id = kept(&catalog, job.id).await;
    succeed(&catalog, 0).await;
    let first = due(&catalog, 1).await.remove(0).sent;
    assert_eq!(due(&catalog, 30).await, [], "it is held");
    let second = due(&catalog, 31).await.remove(0).sent;
    assert_eq!((first, second), (Try { id, attempt: 1 }, Try { id, attempt: 2 }));
    // The first sender was only slow.
    let late = catalog.finish_notification(&first, &TryEnded::Delivered, at(32)).await.unwrap();
    assert!(!late);
    assert!(catalog.finish_notification(&second, &TryEnded::Delivered, at(33)).await.unwrap());
}

async fn a_try_that_failed_comes_again_when_its_time_has_come(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    kept(&catalog, job.id).await;
    succeed(&catalog, 0).await;
    let sent = due(&catalog, 1).await.remove(0).sent;
    let again = TryEnded::Again { error: "it answers '500'".to_owned(), at: at(60) };
    assert!(catalog.finish_notification(&sent, &again, at(2)).await.unwrap());
    let between = all(&catalog).await.remove(0);
    assert_eq!((between.state, between.attempts), (NotificationState::Sending, 1));
    assert_eq!(between.next_attempt_at, Some(at(60)));
    assert_eq!(between.last_error.as_deref(), Some("it answers '500'"));
    assert_eq!(due(&catalog, 59).await, []);
    assert_eq!(due(&catalog, 60).await[0].sent.attempt, 2);
}

async fn what_is_over_is_never_sent_again(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    succeed(&catalog, 0).await;
    for (n, ended) in (0..).zip([TryEnded::Delivered, TryEnded::GivenUp { error: "no".to_owned() }])
    {
        let new = new(job.id, &format!("https://host/{n}"));
        catalog.notify(&[new], OPEN_MAX, at(0)).await.unwrap();
        let sent = due(&catalog, n).await.remove(0).sent;
        assert!(catalog.finish_notification(&sent, &ended, at(n)).await.unwrap());
        assert!(!catalog.finish_notification(&sent, &TryEnded::Delivered, at(n)).await.unwrap());
        assert_eq!(due(&catalog, 1_000_000).await, []);
    }
    let states: Vec<_> = all(&catalog).await.into_iter().map(|each| each.state).collect();
    assert!(states.contains(&NotificationState::Failed), "{states:?}");
    assert!(states.contains(&NotificationState::Delivered), "{states:?}");
}

async fn a_job_that_is_retried_is_told_again(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let first = kept(&catalog, job.id).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.finish(&claimed.lease, &failed(Code::Internal), at(1)).await.unwrap();
    // Not delivered yet: it tells of the end that comes now.
    catalog.retry(job.id, at(2)).await.unwrap();
    assert_eq!((due(&catalog, 3).await, all(&catalog).await.len()), (vec![], 1));
    let claimed = claim(&catalog, at(3)).await;
    catalog.finish(&claimed.lease, &failed(Code::Internal), at(4)).await.unwrap();
    let sent = due(&catalog, 5).await.remove(0).sent;
    assert_eq!(sent.id, first);
    catalog.finish_notification(&sent, &TryEnded::Delivered, at(5)).await.unwrap();
    catalog.retry(job.id, at(6)).await.unwrap();
    assert_eq!(due(&catalog, 7).await, []);
    succeed(&catalog, 7).await;
    let second = due(&catalog, 8).await.remove(0);
    assert_eq!((second.job.state, second.sent.attempt), (JobState::Succeeded, 1));
    assert_ne!(second.sent.id, first, "another end has another message");
}

async fn no_more_wait_than_may(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let two = [new(job.id, "https://a/"), new(job.id, "https://b/")];
    let full = catalog.notify(&two, 1, at(0)).await;
    assert!(matches!(full, Err(CatalogError::NotificationsFull { open_max: 1 })), "{full:?}");
    assert_eq!(all(&catalog).await, []);
    catalog.notify(&two, 2, at(0)).await.unwrap();
    succeed(&catalog, 0).await;
    let third = [new(job.id, "https://c/")];
    assert!(catalog.notify(&third, 2, at(0)).await.is_err());
    let sent = due(&catalog, 1).await.remove(0).sent;
    catalog.finish_notification(&sent, &TryEnded::Delivered, at(1)).await.unwrap();
    catalog.notify(&third, 2, at(2)).await.unwrap();
}

async fn a_notification_of_no_job_is_refused(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let new = [new(job.id, "https://a/"), new(JobId::generate(), "https://a/")];
    let answer = catalog.notify(&new, OPEN_MAX, at(0)).await;
    assert!(matches!(answer, Err(CatalogError::JobNotFound(_))), "{answer:?}");
    assert_eq!(all(&catalog).await, []);
    for _ in 0..2 {
        catalog.notify(&new[..1], OPEN_MAX, at(0)).await.unwrap();
    }
    assert_eq!(all(&catalog).await.len(), 1, "its id is its id");
}

async fn notifications_are_listed_newest_first(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let mut ids = Vec::new();
    for second in [3, 1, 2] {
        let new = new(job.id, &format!("https://a/{second}"));
        catalog.notify(std::slice::from_ref(&new), OPEN_MAX, at(second)).await.unwrap();
        ids.push(new.id);
    }
    let listed: Vec<_> = all(&catalog).await.into_iter().map(|each| each.id).collect();
    assert_eq!(listed, [ids[0], ids[2], ids[1]]);
    assert_eq!(catalog.notifications(1).await.unwrap().len(), 1);
}

async fn who_asks_again_is_not_told_twice(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let first = kept(&catalog, job.id).await;
    kept(&catalog, job.id).await;
    succeed(&catalog, 0).await;
    let sent = due(&catalog, 1).await;
    assert_eq!(sent.iter().map(|due| due.sent.id).collect::<Vec<_>>(), [first]);
    catalog.finish_notification(&sent[0].sent, &TryEnded::Delivered, at(1)).await.unwrap();
    // Nor once it was told; and there is room for it where there is none for another.
    let again = new(job.id, "https://host/it's?a=1");
    catalog.notify(&[again], 0, at(2)).await.unwrap();
    assert_eq!(due(&catalog, 3).await, []);
    let others = [
        new(job.id, "https://host/"),
        NewNotification { requested_by: "bob".to_owned(), ..new(job.id, "https://host/it's?a=1") },
    ];
    catalog.notify(&others, OPEN_MAX, at(4)).await.unwrap();
    assert_eq!(due(&catalog, 5).await.len(), 2, "others are told");
}

async fn what_is_over_for_long_is_forgotten(catalog: C) {
    let job = queued(&catalog, "a", &[]).await;
    let waiting = queued(&catalog, "b", &[]).await;
    for url in ["https://a/1", "https://a/2", "https://a/3"] {
        catalog.notify(&[new(job.id, url)], OPEN_MAX, at(0)).await.unwrap();
    }
    succeed(&catalog, 0).await;
    let open = kept(&catalog, waiting.id).await;
    let sent = due(&catalog, 1).await;
    let given_up = TryEnded::GivenUp { error: "no".to_owned() };
    let again = TryEnded::Again { error: "no".to_owned(), at: at(100) };
    for (n, ended) in [TryEnded::Delivered, given_up, again].iter().enumerate() {
        let now = at(10 + i64::try_from(n).unwrap());
        assert!(catalog.finish_notification(&sent[n].sent, ended, now).await.unwrap());
    }
    let left = |all: Vec<Notification>| all.into_iter().map(|each| each.id).collect::<Vec<_>>();
    catalog.prune_notifications(at(10)).await.unwrap();
    assert_eq!(all(&catalog).await.len(), 4);
    catalog.prune_notifications(at(11)).await.unwrap();
    assert!(!left(all(&catalog).await).contains(&sent[0].sent.id));
    catalog.prune_notifications(at(1_000_000)).await.unwrap();
    let mut ids = left(all(&catalog).await);
    ids.sort();
    let mut expected = vec![sent[2].sent.id, open];
    expected.sort();
    assert_eq!(ids, expected, "what is not over stays, however old");
}
