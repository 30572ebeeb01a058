use model::{
    id::{JobId, RunId, WorkerId},
    job::{Job, JobCause, JobState, Lease},
    name::ObjectName,
    profile::Resources,
    time::Timestamp,
    work::Work,
};

use super::*;

fn claimed(run_seq: i64) -> ClaimedRun {
    let job = Job {
        id: JobId::generate(),
        work: Work::Refresh,
        object: ObjectId::generate(),
        object_name: ObjectName::new("main", "daily").unwrap(),
        state: JobState::Planning,
        cause: JobCause::Request,
        requested_by: "ada".to_owned(),
        after: Vec::new(),
        force: false,
        queued_at: Timestamp::from_micros(0),
        started_at: None,
        finished_at: None,
        run: None,
        attempt: 2,
        attempts_max: 5,
        progress: model::job::RunProgress::default(),
        chosen: model::approval::Chosen::default(),
        approval: None,
        output_version: None,
        result: None,
        error: None,
        priority: 0,
        idempotency_key: None,
        parent: None,
        ranges: None,
        graph: None,
        resources: Resources::default(),
    };
    let lease = Lease { run: RunId::generate(), attempt: 2, worker: WorkerId::generate() };
    ClaimedRun { lease, job, run_seq, last: None, objects_version: 1 }
}

fn input(name: &str, delta_table_id: &str, version: i64) -> PinnedInput {
    PinnedInput {
        object: ObjectId::generate(),
        name: ObjectName::new("main", name).unwrap(),
        delta_table_id: delta_table_id.to_owned(),
        version,
    }
}

#[test]
fn a_commit_says_which_run_made_it_and_how_far_each_delta_input_was_read() {
    let claimed = claimed(7);
    let strategy = Computation {
        definition_hash: "ff".repeat(32),
        strategy: Strategy::Keys,
        reason: "INPUT_CHANGED".to_owned(),
        inputs: vec![input("a", "id-1", 3), input("files", "", 99), input("again", "id-1", 4)],
        notes: Vec::new(),
        report: RunReport::default(),
    };
    let info = info(&claimed, &strategy, Written { rows: 3, bytes: 500 });
    let object = claimed.job.object;
    let txn = info.txn.unwrap();
    assert_eq!((txn.app_id, txn.version), (format!("whimbrel:{object}"), 7));
    let sources: Vec<_> =
        info.sources.iter().map(|txn| (txn.app_id.clone(), txn.version)).collect();
    assert_eq!(
        sources,
        [
            (format!("whimbrel:{object}:src:id-1"), 4),
            (format!("whimbrel:{object}:definition"), i64::MAX),
            (format!("whimbrel:{object}:strategy"), 3),
        ]
    );
    let metadata = info.operation_metadata;
    assert_eq!(metadata["run_id"], claimed.lease.run.to_string());
    assert_eq!(metadata["attempt"], 2);
    assert_eq!(metadata["strategy"], "KEYS");
    assert_eq!(metadata["inputs"][1]["version"], 99);
    assert_eq!((&metadata["rows_written"], &metadata["bytes_written"]), (&json!(3), &json!(500)));
}

#[test]
fn definitions_are_told_apart_by_the_beginning_of_their_hash() {
    let cases = [
        ("", 0),
        ("not a hash at all", 0),
        ("0000000000000002ffff", 1),
        ("ffffffffffffffff0000", i64::MAX),
    ];
    for (hash, number) in cases {
        assert_eq!(definition_number(hash), number, "{hash}");
    }
}
