-- Who has approved a full refresh for the job, when, and of which definition.
ALTER TABLE jobs ADD COLUMN approved_by TEXT;
ALTER TABLE jobs ADD COLUMN approved_at BIGINT;
ALTER TABLE jobs ADD COLUMN approved_definition TEXT;
