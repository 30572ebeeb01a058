-- Messages about the ends of jobs: WAITING until the receiver has taken them (DELIVERED) or they are
-- given up (FAILED). Nobody sends one before next_at; a try moves it, so that one whose sender died is
-- sent again.
CREATE TABLE notifications (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    url TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    finished_at BIGINT,
    last_error TEXT
);
CREATE INDEX notifications_open ON notifications (next_at, id) WHERE state = 'WAITING';
CREATE INDEX notifications_by_job ON notifications (job_id);
CREATE INDEX notifications_by_time ON notifications (requested_at, id);
