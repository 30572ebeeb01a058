-- Tokens of users, by the SHA-256 of their text. Times are microseconds since 1970.
CREATE TABLE tokens (
    digest TEXT NOT NULL PRIMARY KEY,
    user_name TEXT NOT NULL,
    name TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    UNIQUE (user_name, name)
);
