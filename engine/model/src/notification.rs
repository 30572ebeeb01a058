//! Messages about the end of a job: to whom, and how far they have come.

use std::{fmt, str::FromStr};

use crate::{
    id::{JobId, NotificationId},
    name::ObjectName,
    time::Timestamp,
};

/// Where a notification stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotificationState {
    /// Its job has not ended.
    Waiting,
    /// Its job has ended; it is sent, or sent again.
    Sending,
    /// The receiver has taken it.
    Delivered,
    /// It was sent as often as it may be, and the receiver never took it.
    Failed,
}

impl NotificationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Sending, Self::Delivered, Self::Failed];

    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Sending => "SENDING",
            Self::Delivered => "DELIVERED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for NotificationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`NotificationState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the state of a notification")]
pub struct ParseNotificationStateError(String);

impl FromStr for NotificationState {
    type Err = ParseNotificationStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| ParseNotificationStateError(text.to_owned()))
    }
}

/// A notification that is to be kept until its job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotification {
    /// Chosen by the caller. Every try of a notification carries it, so that whoever gets one twice
    /// can tell.
    pub id: NotificationId,
    /// The job.
    pub job: JobId,
    /// Where it goes.
    pub url: String,
    /// Who asked for it.
    pub requested_by: String,
}

/// A notification as `system.notifications` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// The job that it is about.
    pub job: JobId,
    /// What the job is about.
    pub object_name: ObjectName,
    /// Where it goes.
    pub url: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// Where it stands.
    pub state: NotificationState,
    /// How often it was sent so far.
    pub attempts: u32,
    /// When it is sent next at the earliest; nothing once it is over.
    pub next_attempt_at: Option<Timestamp>,
    /// When the receiver took it, or it was given up.
    pub finished_at: Option<Timestamp>,
    /// Why the last try did not work.
    pub last_error: Option<String>,
}
