-- Who does what only one process does. No time in here decides anything: whoever sees that nothing was
-- renewed for the length of a lease, by its own clock, takes over. The epoch counts the takings.
CREATE TABLE leaders (
    role TEXT NOT NULL PRIMARY KEY,
    worker_id TEXT,
    epoch BIGINT NOT NULL,
    renewals BIGINT NOT NULL,
    since BIGINT NOT NULL,
    renewed_at BIGINT NOT NULL
);

-- What the auditor has found of materialized views: the newest of each verdict, and how often it was.
CREATE TABLE verifications (
    object_id TEXT NOT NULL,
    verdict TEXT NOT NULL,
    object_schema TEXT NOT NULL,
    object_name TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    version BIGINT,
    row_count BIGINT,
    row_count_computed BIGINT,
    detail TEXT,
    PRIMARY KEY (object_id, verdict)
);
