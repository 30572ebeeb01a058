//! What to copy and paste next.

/// How to go on, from Python, from JDBC, and from here.
pub(super) fn recipes(url: &str, program: &str) -> String {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    format!(
        r#"From a shell:

    {program} sql --url {url}
    {program} sql --url {url} -c "SHOW TABLES"

From Python (pip install adbc-driver-flightsql pyarrow):

    import adbc_driver_flightsql.dbapi as flight
    with flight.connect("{url}", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM gold.worst_routes_ranked ORDER BY place LIMIT 10")
        print(cursor.fetch_arrow_table())

From JDBC (org.apache.arrow:flight-sql-jdbc-driver), for example in DBeaver:

    jdbc:arrow-flight-sql://{address}/?useEncryption=false

A transform of your own:

    CREATE MATERIALIZED VIEW gold.busiest AS
    SELECT origin, count(*) AS flights FROM silver.flights GROUP BY origin;
    REFRESH MATERIALIZED VIEW gold.busiest SYNC;   -- answers when it is there
    SELECT * FROM gold.busiest ORDER BY flights DESC LIMIT 10;
"#
    )
}
