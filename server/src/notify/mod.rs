//! Tells receivers of the ends of jobs: REFRESH … NOTIFY.
//!
//! What is to be told is kept in the catalog, so a restart goes on where it was, and several servers
//! share the work. Whoever takes a notification holds it for a while; who dies meanwhile, or stops,
//! leaves it to the next one. So each is delivered at least once, or given up after a bound; its id
//! lets the receiver tell. Nobody waits for a receiver: no job, no statement, no shutdown.

mod receivers;
mod sign;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use catalog::{
    Catalog,
    notifications::{DueNotification, Try, TryEnded},
};
use model::{secret::Secret, time::Timestamp};
use query::notify::{Receivers, job_json};
use reqwest::{Client, redirect::Policy};
use rt::clock::Clock;
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    receivers::{AllowedHost, AllowedHosts},
    sign::SigningKey,
};
use crate::error::chain;

/// How often the catalog is asked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Notifications that are on their way at the same time.
const AT_ONCE: usize = 16;
/// How often those are forgotten that are over for long.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How much longer than a try takes at most a notification is held.
const HOLD_MORE: Duration = Duration::from_secs(5);
/// Before the second try; twice as long before each further one.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Before any try, at most.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(600);

/// What notifications are sent with.
#[derive(Debug, Clone)]
pub(crate) struct NotifyOptions {
    /// Where they may go.
    pub(crate) hosts: Arc<AllowedHosts>,
    /// What they are signed with.
    pub(crate) secret: Secret,
    /// How long a receiver may take to answer.
    pub(crate) timeout: Duration,
    /// Tries in all before one is given up.
    pub(crate) attempts_max: u32,
    /// How long one that is over is shown.
    pub(crate) keep_for: Duration,
}

/// Sends notifications until it is stopped.
pub(crate) struct Notifier {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    options: NotifyOptions,
    key: SigningKey,
    http: Client,
    /// For receivers on this machine, which are never behind a proxy.
    local: Client,
}

impl Notifier {
    /// The error says why nothing can be sent.
    pub(crate) fn new(
        options: NotifyOptions,
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let client = || {
            Client::builder()
                .redirect(Policy::none())
                .connect_timeout(CONNECT_MAX)
                .timeout(options.timeout)
                .user_agent(concat!("whimbrel/", env!("CARGO_PKG_VERSION")))
        };
        let http = client().build().map_err(|error| chain(&error))?;
        let local = client().no_proxy().build().map_err(|error| chain(&error))?;
        let key = SigningKey::new(&options.secret)?;
        Ok(Self { catalog, clock, options, key, http, local })
    }

    /// Sends what is due, again and again. What is on its way when `stop` comes is left to whoever
    /// looks next.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let notifier = Arc::new(self);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        // Dropped with this task, and with it what is on its way.
        let mut sending = JoinSet::new();
        let mut silent = false;
        let mut pruned_at: Option<Timestamp> = None;
        loop {
            let now = notifier.clock.now();
            if pruned_at.is_none_or(|at| now.since(at) >= PRUNE_EVERY) {
                notifier.prune(now).await;
                pruned_at = Some(now);
            }
            let place = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { return };
            while sending.try_join_next().is_some() {}
            let free = 1 + places.available_permits();
            let due = notifier.due(free).await;
            drop(place);
            let found = match due {
                Ok(due) => {
                    silent = false;
                    let found = due.len();
                    for due in due {
                        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                        let notifier = Arc::clone(&notifier);
                        sending.spawn(async move {
                            notifier.send(due).await;
                            drop(place);
                        });
                    }
                    found
                }
                Err(error) => {
                    if !silent {
                        tracing::warn!(error, "no notifications taken; tried again");
                        silent = true;
                    }
                    0
                }
            };
            if found == free {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = notifier.clock.sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn due(&self, at_most: usize) -> Result<Vec<DueNotification>, String> {
        let hold_for = self.options.timeout + HOLD_MORE;
        let limit = u32::try_from(at_most).unwrap_or(u32::MAX);
        let due = self.catalog.claim_notifications(self.clock.now(), hold_for, limit).await;
        due.map_err(|error| chain(&error))
    }

    /// Forgets those that are over for long. Several servers may do so, at the same time too.
    async fn prune(&self, now: Timestamp) {
        let keep_for = i64::try_from(self.options.keep_for.as_micros()).unwrap_or(i64::MAX);
        let until = Timestamp::from_micros(now.as_micros().saturating_sub(keep_for));
        if let Err(error) = self.catalog.prune_notifications(until).await {
            tracing::warn!(error = chain(&error), "old notifications cannot be removed");
        }
    }

    /// One try, and its record.
    async fn send(&self, due: DueNotification) {
        let sent = due.sent;
        let ended = match self.options.hosts.check(&due.url) {
            // The configuration is another one than when it was asked for.
            Err(error) => TryEnded::GivenUp { error: error.to_string() },
            Ok(_) => match self.post(&due).await {
                Ok(()) => TryEnded::Delivered,
                Err(error) => self.failed(sent, error),
            },
        };
        let (notification, attempt) = (sent.id, sent.attempt);
        match &ended {
            TryEnded::Delivered => {
                tracing::debug!(%notification, attempt, job = %due.job.id, "notification delivered");
            }
            TryEnded::Again { error, .. } => {
                tracing::info!(%notification, attempt, job = %due.job.id, error, "notification not taken");
            }
            TryEnded::GivenUp { error } => {
                tracing::warn!(%notification, attempt, job = %due.job.id, error, "notification given up");
            }
        }
        if let Err(error) = self.catalog.finish_notification(&sent, &ended, self.clock.now()).await
        {
            let error = chain(&error);
            tracing::warn!(%notification, attempt, error, "what came of a notification was not recorded; it is sent again");
        }
    }

    fn failed(&self, sent: Try, error: String) -> TryEnded {
        if sent.attempt >= self.options.attempts_max {
            return TryEnded::GivenUp { error };
        }
        TryEnded::Again { error, at: self.clock.now().plus(again_after(sent.attempt)) }
    }

    /// The receiver has taken it when it answers 2xx; everything else is an error.
    async fn post(&self, due: &DueNotification) -> Result<(), String> {
        let id = due.sent.id.to_string();
        let sent_at = self.clock.now();
        let body = json!({
            "type": "job.ended",
            "id": id,
            "timestamp": sent_at.to_string(),
            "data": job_json(&due.job),
        });
        let body = body.to_string();
        let seconds = seconds(sent_at).to_string();
        let signature = self.key.sign(&id, &seconds, &body);
        let client = if receivers::is_local(&due.url) { &self.local } else { &self.http };
        let request = client
            .post(&due.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body);
        // The address is shown beside the error, and need not be in the log.
        let answer = request.send().await.map_err(|error| {
            let timeout = self.options.timeout;
            match error.is_timeout() {
                true => format!("no answer within {timeout:?}"),
                false => chain(&error.without_url()),
            }
        })?;
        let status = answer.status();
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_redirection() => {
                Err(format!("the answer is {status}, and redirects are not followed"))
            }
            _ => Err(format!("the answer is {status}")),
        }
    }
}

fn again_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(20);
    AGAIN_AFTER.saturating_mul(1 << doublings).min(AGAIN_AFTER_MAX)
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}
