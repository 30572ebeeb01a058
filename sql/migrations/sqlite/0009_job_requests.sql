-- Which of the jobs that can run is taken first, what makes a request that is sent again the same
-- one, and which jobs are the ranges of a BACKFILL.
ALTER TABLE jobs ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN idempotency_key TEXT;
ALTER TABLE jobs ADD COLUMN parent_id TEXT;
CREATE INDEX jobs_open_by_priority ON jobs (priority DESC, queued_at, queue_seq)
    WHERE state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING');
CREATE INDEX jobs_by_parent ON jobs (parent_id) WHERE parent_id IS NOT NULL;

-- The jobs that answered a request with a key, in the order of the answer.
CREATE TABLE job_keys (
    requested_by TEXT NOT NULL,
    request_key TEXT NOT NULL,
    position BIGINT NOT NULL,
    request TEXT NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (requested_by, request_key, position)
);
