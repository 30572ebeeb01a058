-- Keys with which servers seal what they give to clients, so that each of them recognizes what another one gave.
-- The newest one seals; the one before is kept for what it has sealed.
CREATE TABLE seal_keys (
    number BIGINT NOT NULL PRIMARY KEY,
    secret TEXT COLLATE "C" NOT NULL,
    made_at BIGINT NOT NULL
);
