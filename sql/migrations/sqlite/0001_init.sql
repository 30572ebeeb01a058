-- Ids are text, times are microseconds since 1970, truth values are 0 and 1: the same in every database.

CREATE TABLE schemas (
    name TEXT NOT NULL PRIMARY KEY,
    comment TEXT
);
INSERT INTO schemas (name, comment) VALUES ('main', NULL);

CREATE TABLE objects (
    id TEXT NOT NULL PRIMARY KEY,
    schema_name TEXT NOT NULL REFERENCES schemas (name),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    comment TEXT,
    properties TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    definition_version BIGINT NOT NULL,
    UNIQUE (schema_name, name)
);

-- Counters. Writers take theirs first, so it is also the lock that puts them in order.
CREATE TABLE catalog_state (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO catalog_state (name, value) VALUES ('objects_version', 1), ('queue_seq', 0);

-- Jobs outlive their objects, so they hold the name and no reference.
CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    queue_seq BIGINT NOT NULL,
    object_id TEXT NOT NULL,
    object_schema TEXT NOT NULL,
    object_name TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    forced BIGINT NOT NULL,
    attempts_max BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    finished_at BIGINT,
    stop_asked BIGINT NOT NULL DEFAULT 0,
    error TEXT,
    -- The newest run and the lease on it.
    run_id TEXT,
    attempt BIGINT NOT NULL DEFAULT 0,
    worker_id TEXT,
    lease_until BIGINT
);
CREATE INDEX jobs_open ON jobs (queued_at, queue_seq)
    WHERE state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING');
CREATE INDEX jobs_by_time ON jobs (queued_at, queue_seq);
CREATE INDEX jobs_by_object ON jobs (object_id, state);
CREATE INDEX jobs_by_run ON jobs (run_id);

CREATE TABLE job_after (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    position BIGINT NOT NULL,
    upstream_id TEXT NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (job_id, position)
);
CREATE INDEX job_after_by_upstream ON job_after (upstream_id);

-- Each due time of a schedule is queued once, ever; the job may be one that was there before.
CREATE TABLE job_due (
    object_id TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (object_id, due_at)
);

-- Counts the runs of each object that ever had a job; its row is the lock of a claim.
CREATE TABLE object_runs (
    object_id TEXT NOT NULL PRIMARY KEY,
    last_run_seq BIGINT NOT NULL
);

CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    object_id TEXT NOT NULL,
    run_seq BIGINT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    worker_id TEXT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    strategy TEXT,
    reason TEXT,
    definition_hash TEXT,
    rows_read BIGINT NOT NULL DEFAULT 0,
    rows_read_expected BIGINT NOT NULL DEFAULT 0,
    rows_written BIGINT NOT NULL DEFAULT 0,
    bytes_written BIGINT NOT NULL DEFAULT 0,
    output_version BIGINT,
    error TEXT,
    pinned BIGINT NOT NULL DEFAULT 0,
    UNIQUE (object_id, run_seq)
);
CREATE INDEX runs_by_job ON runs (job_id);
CREATE INDEX runs_by_time ON runs (started_at, id);

CREATE TABLE run_inputs (
    run_id TEXT NOT NULL REFERENCES runs (id),
    position BIGINT NOT NULL,
    object_id TEXT NOT NULL,
    object_schema TEXT NOT NULL,
    object_name TEXT NOT NULL,
    delta_table_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (run_id, position)
);

CREATE TABLE users (
    name TEXT NOT NULL PRIMARY KEY,
    password_hash TEXT NOT NULL
);
