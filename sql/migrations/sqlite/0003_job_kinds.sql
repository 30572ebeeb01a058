-- Jobs that look after the files of a table: REFRESH, OPTIMIZE or VACUUM. Their arguments, and what
-- they have done, are JSON.
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'REFRESH';
ALTER TABLE jobs ADD COLUMN arguments TEXT NOT NULL DEFAULT '{}';
ALTER TABLE runs ADD COLUMN files BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN files_expected BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN result TEXT;
