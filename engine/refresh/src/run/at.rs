//! REFRESH … USING INPUTS: a run that reads some inputs at versions that were named.
//!
//! A materialized view may go back with them, since it is its query at whatever versions. A streaming
//! table keeps what it has taken, so its inputs only go on.

use model::{
    job::PinnedInput,
    object::{Object, ObjectBody},
    work::AtWork,
};

use super::{stream::Reading, transform::Run};
use crate::error::RefreshError;

impl Run<'_> {
    /// The versions that a new run reads: those that were named, and of other inputs the newest.
    pub(super) async fn inputs_at(
        &self,
        object: &Object,
        asked: &AtWork,
        newest: Vec<PinnedInput>,
        reading: Reading,
    ) -> Result<Vec<PinnedInput>, RefreshError> {
        let keeps_rows =
            matches!(object.body, ObjectBody::StreamingTable(_)) && reading == Reading::New;
        let mut inputs = newest;
        for asked in &asked.at {
            let same = |input: &&mut PinnedInput| {
                input.object == asked.object && input.delta_table_id == asked.delta_table_id
            };
            let Some(input) = inputs.iter_mut().find(same) else {
                let (object, input) = (self.name(), asked.name.clone());
                return Err(RefreshError::InputReplaced { object, input });
            };
            let chosen = match keeps_rows {
                true => self.not_taken_back(asked).await?,
                false => asked.version,
            };
            input.version = chosen;
        }
        Ok(inputs)
    }

    /// The version that was named, unless a streaming table has read a later one: then that one, if it
    /// has the same rows.
    async fn not_taken_back(&self, asked: &PinnedInput) -> Result<i64, RefreshError> {
        let last = self.claimed.last.iter().flat_map(|last| &last.inputs);
        let same = |before: &&PinnedInput| {
            before.object == asked.object && before.delta_table_id == asked.delta_table_id
        };
        let read = last.into_iter().find(same).map(|before| before.version);
        let Some(read) = read.filter(|read| *read > asked.version) else {
            return Ok(asked.version);
        };
        if self.moved_only(asked, read).await? {
            return Ok(read);
        }
        Err(RefreshError::TakenAlready {
            object: self.name(),
            input: asked.name.clone(),
            read,
            asked: asked.version,
        })
    }
}
