-- Who did what, and what came of it. Times are microseconds since 1970, durations microseconds.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    principal TEXT NOT NULL,
    client TEXT,
    event TEXT NOT NULL,
    outcome TEXT NOT NULL,
    query_id TEXT,
    statement TEXT,
    row_count BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    error TEXT
);
CREATE INDEX audit_by_principal ON audit (principal, seq);
CREATE INDEX audit_by_time ON audit (at);
