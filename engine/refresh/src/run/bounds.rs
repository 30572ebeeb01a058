//! What a run may take: memory and parts by its profile, which the planner is told; time, and bytes
//! that it reads and writes, which are held here.
//!
//! All of it ends a run before its commit: nothing is published, and its job says what was too much.

use std::time::Duration;

use model::{profile::Profile, quantity::format_size};
use query::transform::PlannedTransform;

use super::transform::{Computed, Run};
use crate::{error::RefreshError, progress::Decided};

/// How often it is looked how much was written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// The profile of the job, as this process knows it.
    pub(super) fn profile(&self) -> Result<Profile, RefreshError> {
        let (profiles, name) = (&self.options.profiles, &self.claimed.job.resources.profile);
        profiles.get(name).cloned().ok_or_else(|| RefreshError::UnknownProfile {
            object: self.name(),
            profile: name.clone(),
            known: profiles.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// Ends when the run has taken more time than its profile allows, or has written more bytes than
    /// its job does; never, where there is no such limit.
    pub(super) async fn takes_too_much(&self) -> RefreshError {
        let profile = self.profile().ok();
        let run_time_max = profile.as_ref().and_then(|profile| profile.run_time_max);
        let bytes_max = self.claimed.job.resources.bytes_max;
        if run_time_max.is_none() && bytes_max.is_none() {
            return std::future::pending().await;
        }
        let clock = &self.options.clock;
        let ends_at = run_time_max.map(|limit| clock.now().plus(limit));
        loop {
            if let Some(error) = self.wrote_too_much(self.progress.figures().bytes_written) {
                return error;
            }
            let left = ends_at.map(|ends_at| ends_at.since(clock.now()));
            if let (Some(Duration::ZERO), Some(limit), Some(profile)) =
                (left, run_time_max, &profile)
            {
                let (object, profile) = (self.name(), profile.name.clone());
                return RefreshError::TooLong { object, profile, limit };
            }
            let wait = match (left, bytes_max) {
                (Some(left), None) => left,
                (Some(left), Some(_)) => left.min(LOOK_EVERY),
                (None, _) => LOOK_EVERY,
            };
            clock.sleep(wait).await;
        }
    }

    /// Notes how the result is computed, for the books, and refuses a plan that reads more bytes than the
    /// job allows.
    pub(super) fn decide(
        &self,
        planned: &PlannedTransform,
        decided: Decided,
    ) -> Result<(), RefreshError> {
        let how = format!("{}, {}", decided.strategy, decided.reason);
        self.progress.decide(decided);
        let Some(max) = self.claimed.job.resources.bytes_max else { return Ok(()) };
        let bytes = planned.bytes_to_read();
        if bytes <= max {
            return Ok(());
        }
        let what = format!("it would read {} ({how})", format_size(bytes));
        Err(RefreshError::TooManyBytes { object: self.name(), what, max })
    }

    /// Refuses staged files of more bytes than the job allows, and deletes them.
    pub(super) async fn wrote_few_enough(
        &self,
        computed: Computed,
    ) -> Result<Computed, RefreshError> {
        let Computed::Staged(run) = computed else { return Ok(computed) };
        let quarantined = run.quarantine.as_ref().map_or(0, |aside| aside.staged.bytes());
        let Some(error) = self.wrote_too_much(run.staged.bytes() + quarantined) else {
            return Ok(Computed::Staged(run));
        };
        let lake = &self.options.lake;
        lake.discard(run.staged).await;
        if let Some(quarantine) = run.quarantine {
            lake.discard(quarantine.staged).await;
        }
        Err(error)
    }

    fn wrote_too_much(&self, bytes: u64) -> Option<RefreshError> {
        let max = self.claimed.job.resources.bytes_max.filter(|max| bytes > *max)?;
        let what = format!("it wrote {}", format_size(bytes));
        Some(RefreshError::TooManyBytes { object: self.name(), what, max })
    }
}
