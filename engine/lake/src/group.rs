//! Commits appends that wait for each other together.
//!
//! Writers of one table take turns, and a turn costs some requests to the store. Whoever gets his
//! turn therefore takes along every append that waits meanwhile: one log entry with the files of
//! all of them. Each is told of its own rows, and none of them is seen without being complete.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    commit::{CommitInfo, Committed, Put, REBASES_MAX, pause, put},
    entry::{check_base, entry},
    error::LakeError,
    faults::crash_point,
    lake::Lake,
    snapshot::Snapshot,
    stage::{Effect, Staged, WriteMode},
};

/// What writers of one table share.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    /// Held while somebody commits.
    pub(crate) turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<Append>>,
}

#[cfg(test)]
impl Writers {
    /// How many appends wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }
}

/// An append that waits to be committed.
#[derive(Debug)]
struct Append {
    staged: Staged,
    answer: oneshot::Sender<Result<Committed, LakeError>>,
}

/// Whether a commit may be one with others.
pub(crate) fn is_plain_append(staged: &Staged, info: &CommitInfo) -> bool {
    let append = matches!(staged.effect, Effect::Write(WriteMode::Append));
    append && *info == CommitInfo::default()
}

impl Lake {
    /// Commits an append with those that wait meanwhile, or lets another one take it along.
    pub(crate) async fn commit_together(
        &self,
        writers: &Writers,
        staged: Staged,
    ) -> Result<Committed, LakeError> {
        let location = staged.place.text();
        let (answer, answered) = oneshot::channel();
        writers.waiting.lock().push(Append { staged, answer });
        {
            let _turn = writers.turn.lock().await;
            let group = std::mem::take(&mut *writers.waiting.lock());
            self.commit_group(group).await;
        }
        answered.await.unwrap_or_else(|error| Err(LakeError::internal("commit", location, error)))
    }

    /// Publishes what several statements staged for one table in one commit: all of it or nothing.
    /// More than one have to be plain appends that began at the same version; otherwise as
    /// [`Lake::commit`], whose promises hold here too.
    pub async fn commit_as_one(&self, mut staged: Vec<Staged>) -> Result<Committed, LakeError> {
        if staged.len() == 1
            && let Some(only) = staged.pop()
        {
            return self.commit(only, CommitInfo::default()).await;
        }
        let location = staged.first().map(|first| first.place.text()).unwrap_or_default();
        let lake = self.clone();
        let task = tokio::spawn(async move { lake.commit_appends(staged).await });
        task.await.unwrap_or_else(|error| Err(LakeError::internal("commit", location, error)))
    }

    async fn commit_appends(&self, staged: Vec<Staged>) -> Result<Committed, LakeError> {
        crash_point("staged");
        let Some(place) = staged.first().map(|first| first.place.clone()) else {
            let nothing = std::io::Error::other("nothing was staged");
            return Err(LakeError::internal("commit", String::new(), nothing));
        };
        let fits = |one: &Staged| {
            one.place.url == place.url && is_plain_append(one, &CommitInfo::default())
        };
        if !staged.iter().all(fits) {
            let other = std::io::Error::other("only appends to one table are committed as one");
            return Err(LakeError::internal("commit", place.text(), other));
        }
        let writers = self.writers(&place);
        let mut answers = Vec::with_capacity(staged.len());
        {
            // All at once: whoever has the turn takes either all of them or none.
            let mut waiting = writers.waiting.lock();
            for staged in staged {
                let (answer, answered) = oneshot::channel();
                waiting.push(Append { staged, answer });
                answers.push(answered);
            }
        }
        {
            let _turn = writers.turn.lock().await;
            let group = std::mem::take(&mut *writers.waiting.lock());
            self.commit_group(group).await;
        }
        let mut all: Option<Committed> = None;
        for answered in answers {
            let one = answered
                .await
                .unwrap_or_else(|error| Err(LakeError::internal("commit", place.text(), error)))?;
            all = Some(match all {
                None => one,
                Some(before) => Committed {
                    rows: before.rows + one.rows,
                    files: before.files + one.files,
                    bytes: before.bytes + one.bytes,
                    ..one
                },
            });
        }
        let lost = || std::io::Error::other("no append was answered");
        all.ok_or_else(|| LakeError::internal("commit", place.text(), lost()))
    }

    async fn commit_group(&self, mut group: Vec<Append>) {
        let commit_id = Uuid::now_v7();
        let mut rebases = 0;
        while let Some(first) = group.first() {
            let place = first.staged.place.clone();
            let base = match self.cache().fresh(&place).await {
                Ok(base) => base,
                Err(error) => return refuse(group, &error).await,
            };
            let mut fitting = Vec::with_capacity(group.len());
            for append in group {
                match check_base(&append.staged, Some(&base)).await {
                    Ok(()) => fitting.push(append),
                    Err(error) => refuse(vec![append], &error).await,
                }
            }
            group = fitting;
            let Some(all) = together(&group, &base) else { return };
            let entry = match entry(&all, &CommitInfo::default(), Some(&base), commit_id) {
                Ok(entry) => entry,
                Err(error) => return refuse(group, &error).await,
            };
            let version = base.version() + 1;
            group.iter().for_each(|append| append.staged.area.keep());
            let put = put(&place, version, entry, commit_id).await;
            if !matches!(put, Ok(Put::Ours) | Err(LakeError::OutcomeUnknown { .. })) {
                group.iter().for_each(|append| append.staged.area.unkeep());
            }
            match put {
                Ok(Put::Ours) => {
                    crash_point("committed");
                    let snapshot = self.read_back(&place, Some(&base), version).await;
                    if let Ok(snapshot) = &snapshot {
                        self.checkpoint_if_due(snapshot);
                    }
                    for Append { staged, answer } in group {
                        // Who is no longer there needs no answer.
                        let _ = answer.send(snapshot.clone().map(|snapshot| Committed {
                            version,
                            rows: staged.rows,
                            files: staged.adds.len() as u64,
                            bytes: staged.bytes(),
                            snapshot,
                        }));
                    }
                    return;
                }
                Ok(Put::Others) if rebases < REBASES_MAX => {
                    rebases += 1;
                    tokio::time::sleep(pause(rebases)).await;
                }
                Ok(Put::Others) => {
                    let why = "it came in between";
                    let error = LakeError::Conflict { location: place.text(), version, why };
                    return refuse(group, &error).await;
                }
                Err(error) => return refuse(group, &error).await,
            }
        }
    }
}

/// The appends as if one statement had made them.
fn together(group: &[Append], base: &Arc<Snapshot>) -> Option<Staged> {
    let first = &group.first()?.staged;
    Some(Staged {
        place: first.place.clone(),
        effect: Effect::Write(WriteMode::Append),
        base: Some(Arc::clone(base)),
        schema: first.schema(),
        adds: group.iter().flat_map(|append| append.staged.adds.iter().cloned()).collect(),
        rows: group.iter().map(|append| append.staged.rows).sum(),
        area: Arc::clone(&first.area),
    })
}

async fn refuse(group: Vec<Append>, error: &LakeError) {
    for Append { staged, answer } in group {
        if !matches!(error, LakeError::OutcomeUnknown { .. } | LakeError::ReadBack { .. }) {
            staged.area.delete().await;
        }
        let _ = answer.send(Err(error.clone()));
    }
}
