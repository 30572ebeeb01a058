//! What the refreshes did, as one table: how each was done, what it read and wrote.

use std::collections::HashMap;

use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use proto::v1::{Job, JobState};

use crate::client::{
    ClientError, Connection, Outcome, TextTable, grouped, job_seconds, state_word,
};

/// How a refresh was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct How {
    /// `APPEND`, `KEYS` and so on; nothing where nothing was done.
    pub(super) strategy: Option<String>,
    /// Why, in one word.
    pub(super) reason: String,
    /// Rows that expectations kept out.
    pub(super) kept_out: u64,
}

/// Asks `system.runs` how jobs were done; by the id of the job.
pub(super) async fn how(
    connection: &mut Connection,
    jobs: &[Job],
) -> Result<HashMap<String, How>, ClientError> {
    let ids: Vec<_> = jobs.iter().map(|job| format!("'{}'", job.id)).collect();
    let sql = format!(
        "SELECT job_id, strategy, reason, coalesce(rows_dropped, 0) + coalesce(rows_quarantined, 0) \
         AS kept_out FROM system.runs WHERE job_id IN ({}) ORDER BY run_seq",
        ids.join(", ")
    );
    let Outcome::Rows(rows) = connection.run(&sql).await? else { return Ok(HashMap::new()) };
    let mut found = HashMap::new();
    for batch in rows.collect().await? {
        found.extend(told(&batch).map_err(ClientError::Format)?);
    }
    Ok(found)
}

fn told(batch: &RecordBatch) -> Result<Vec<(String, How)>, arrow::error::ArrowError> {
    let options = FormatOptions::new();
    let columns: Result<Vec<_>, _> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
    let columns = columns?;
    let mut told = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let text = |column: usize| columns[column].value(row).try_to_string();
        let (reason, strategy) = (text(2)?, text(1)?);
        let how = How {
            strategy: (!strategy.is_empty()).then_some(strategy),
            reason: reason.split(':').next().unwrap_or_default().to_owned(),
            kept_out: text(3)?.parse().unwrap_or_default(),
        };
        told.push((text(0)?, how));
    }
    Ok(told)
}

/// The table: one line a transform.
pub(super) fn rendered(jobs: &[Job], how: &HashMap<String, How>) -> String {
    let mut table = TextTable::new(&[
        "transform",
        "strategy",
        ">rows read",
        ">rows written",
        ">kept out",
        ">seconds",
        ">rows/s",
        ">version",
        "state",
    ]);
    let none = How::default();
    for job in jobs {
        let how = how.get(&job.id).unwrap_or(&none);
        let computed = job.state() == JobState::Succeeded;
        let figure = |n: u64| if computed { grouped(n) } else { "–".to_owned() };
        let seconds = job_seconds(job).filter(|_| computed);
        let speed =
            seconds.filter(|seconds| *seconds > 0.0).map(|s| (job.rows_read as f64 / s) as u64);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        table.push(vec![
            job.object.clone(),
            or_none(how.strategy.clone()),
            figure(job.rows_read),
            figure(job.rows_written),
            figure(how.kept_out),
            or_none(seconds.map(|seconds| format!("{seconds:.2}"))),
            or_none(speed.map(grouped)),
            or_none(job.output_version.map(|version| version.to_string())),
            state_word(job.state()).to_owned(),
        ]);
    }
    table.render()
}

/// Which refreshes were incremental, and why the others were not; nothing when all were the first ones.
pub(super) fn told_of_strategies(jobs: &[Job], how: &HashMap<String, How>) -> Option<String> {
    // A first refresh can be nothing else than full.
    let computed: Vec<_> = jobs
        .iter()
        .filter(|job| job.state() == JobState::Succeeded)
        .filter_map(|job| how.get(&job.id).map(|how| (job, how)))
        .filter(|(_, how)| how.reason != "FIRST_RUN")
        .collect();
    if computed.is_empty() {
        return None;
    }
    let is_full = |how: &How| how.strategy.as_deref() == Some("FULL");
    let full: Vec<_> = computed
        .iter()
        .filter(|(_, how)| is_full(how))
        .map(|(job, how)| format!("{} ({})", job.object, how.reason))
        .collect();
    let incremental = computed.len() - full.len();
    let mut text = format!("{incremental} of {} refreshes were incremental", computed.len());
    if !full.is_empty() {
        text.push_str(&format!("; in full: {}", full.join(", ")));
    }
    text.push('.');
    Some(text)
}
