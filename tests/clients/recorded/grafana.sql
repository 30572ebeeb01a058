-- Grafana: the query builder
SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) AS name FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache') ORDER BY CASE WHEN quote_ident(table_schema) = 'main' THEN 0 ELSE 1 END, 1;
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE quote_ident(table_name) = 'orders';
SELECT current_setting('server_version_num');
SELECT 1 FROM pg_extension WHERE extname = 'timescaledb';
