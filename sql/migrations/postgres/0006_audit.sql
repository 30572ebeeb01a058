-- Who did what, and what came of it. Times are microseconds since 1970, durations microseconds.
CREATE TABLE audit (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    principal TEXT COLLATE "C" NOT NULL,
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
