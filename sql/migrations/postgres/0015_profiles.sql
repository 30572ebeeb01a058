-- What the runs of a job may take: a profile of the configuration, and so many bytes.
ALTER TABLE jobs ADD COLUMN profile TEXT COLLATE "C" NOT NULL DEFAULT 'default';
ALTER TABLE jobs ADD COLUMN bytes_max BIGINT;
