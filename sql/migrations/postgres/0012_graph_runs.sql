-- A graph run: jobs that were queued together and read each input at one version.
ALTER TABLE jobs ADD COLUMN graph_id TEXT COLLATE "C";
CREATE INDEX jobs_by_graph ON jobs (graph_id) WHERE graph_id IS NOT NULL;

-- At which versions the jobs of a graph run read their inputs: sources as they were when it began, and
-- transforms as its own jobs have left them.
CREATE TABLE graph_inputs (
    graph_id TEXT COLLATE "C" NOT NULL,
    object_id TEXT COLLATE "C" NOT NULL,
    object_schema TEXT COLLATE "C" NOT NULL,
    object_name TEXT COLLATE "C" NOT NULL,
    delta_table_id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (graph_id, object_id)
);
