//! Messages about the ends of jobs, kept until their receivers have taken them.

use std::time::Duration;

use async_trait::async_trait;
use model::{
    id::NotificationId,
    job::Job,
    notification::{NewNotification, Notification},
    time::Timestamp,
};

use crate::error::CatalogError;

/// The right to send a notification once: nobody else sends it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// The notification.
    pub id: NotificationId,
    /// The how many-th try it is, from 1: who comes back late has another one.
    pub attempt: u32,
}

/// A notification that is to be sent now.
#[derive(Debug, Clone, PartialEq)]
pub struct DueNotification {
    /// The right to send it.
    pub sent: Try,
    /// Where to.
    pub url: String,
    /// The job, which has ended.
    pub job: Job,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryEnded {
    /// The receiver has taken it.
    Delivered,
    /// It has not, and is asked again.
    Again {
        /// Why, for people.
        error: String,
        /// When.
        at: Timestamp,
    },
    /// It has not, and nobody asks again.
    GivenUp {
        /// Why, for people.
        error: String,
    },
}

/// Notifications. Each is delivered at least once, or given up.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// Keeps notifications of jobs, whatever state these are in; all or none.
    ///
    /// [`CatalogError::NotificationsFull`] when more than `open_max` would wait,
    /// [`CatalogError::JobNotFound`] when there is no such job. One that is kept already, by its id or
    /// for the same job, URL and asker, stays as it is, also when it is over: whoever sends a request
    /// again is not told twice.
    async fn notify(
        &self,
        new: &[NewNotification],
        open_max: u64,
        now: Timestamp,
    ) -> Result<(), CatalogError>;

    /// Takes up to `limit` notifications whose jobs have ended and whose time has come, the longest due
    /// first. Each is the caller's for `hold_for`; then anybody sends it again.
    async fn claim_notifications(
        &self,
        now: Timestamp,
        hold_for: Duration,
        limit: u32,
    ) -> Result<Vec<DueNotification>, CatalogError>;

    /// Records what came of a try; `false`, and nothing is recorded, when somebody else has begun
    /// another one or the notification is over.
    async fn finish_notification(
        &self,
        sent: &Try,
        ended: &TryEnded,
        now: Timestamp,
    ) -> Result<bool, CatalogError>;

    /// Forgets those that were over before `until`. Of a job that is retried later nobody is told then
    /// who was told of an end before.
    async fn prune_notifications(&self, until: Timestamp) -> Result<(), CatalogError>;

    /// The newest notifications, newest first.
    async fn notifications(&self, limit: u32) -> Result<Vec<Notification>, CatalogError>;
}
