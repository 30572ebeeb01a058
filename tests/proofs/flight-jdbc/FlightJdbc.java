import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

/** What the real JDBC driver of Flight SQL sees; the first argument is the URL. Says "ok" at the end. */
public class FlightJdbc {
    static void check(Object found, Object expected, String what) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": " + found + " instead of " + expected);
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            values(connection);
            metadata(connection);
            errors(connection);
            cancel(connection);
        }
        sessions(arguments[0]);
        System.out.println("ok");
    }

    static void values(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE SCHEMA shop");
            statement.execute("CREATE TABLE shop.j (id BIGINT, price DECIMAL(10, 2), note VARCHAR, day DATE, at TIMESTAMP, raw BYTEA, truth BOOLEAN, ratio DOUBLE, PRIMARY KEY (id))");
            check(statement.executeUpdate("INSERT INTO shop.j VALUES (1, 1.50, 'ä', '2024-02-29', '2024-02-29 12:30:00.5', X'00ff', true, 0.1)"), 1, "rows of an INSERT");
        }
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO shop.j (id, note) VALUES (?, ?)")) {
            for (int n = 2; n <= 4; n++) {
                statement.setLong(1, n);
                statement.setString(2, n == 3 ? null : "n" + n);
                check(statement.executeUpdate(), 1, "rows of a prepared INSERT");
            }
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM shop.j WHERE id >= ? ORDER BY id")) {
            for (int run = 0; run < 3; run++) {
                statement.setLong(1, 1);
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next(), true, "a row");
                    check(rows.getLong(1), 1L, "id");
                    check(rows.getBigDecimal(2), new BigDecimal("1.50"), "price");
                    check(rows.getString(3), "ä", "note");
                    check(rows.getDate(4).toString(), "2024-02-29", "day");
                    check(Arrays.toString(rows.getBytes(6)), "[0, -1]", "raw");
                    check(rows.getBoolean(7), true, "truth");
                    check(rows.getDouble(8), 0.1, "ratio");
                    int more = 0;
                    while (rows.next()) {
                        more++;
                    }
                    check(more, 3, "more rows");
                }
            }
        }
    }

    static List<String> all(ResultSet rows, String... columns) throws SQLException {
        List<String> lines = new ArrayList<>();
        while (rows.next()) {
            StringJoiner line = new StringJoiner("|");
            for (String column : columns) {
                line.add(rows.getString(column));
            }
            lines.add(line.toString());
        }
        rows.close();
        return lines;
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        check(data.getDatabaseProductName(), "Whimbrel", "product");
        check(all(data.getCatalogs(), "TABLE_CAT"), List.of("whimbrel"), "catalogs");
        check(all(data.getSchemas(), "TABLE_SCHEM"), List.of("information_schema", "main", "shop", "system"), "schemas");
        check(all(data.getTableTypes(), "TABLE_TYPE"), List.of("MATERIALIZED VIEW", "SYSTEM TABLE", "TABLE", "VIEW"), "types of tables");
        check(all(data.getTables("whimbrel", "sh%", "%", new String[] {"TABLE"}), "TABLE_SCHEM", "TABLE_NAME"), List.of("shop|j"), "tables");
        check(all(data.getTables(null, null, "j", null), "TABLE_NAME"), List.of("j"), "tables of any type");
        check(all(data.getTables("other", null, "j", null), "TABLE_NAME"), List.of(), "tables of another catalog");
        check(all(data.getColumns(null, "shop", "j", "%"), "COLUMN_NAME", "TYPE_NAME").subList(0, 3), List.of("id|BIGINT", "price|DECIMAL", "note|VARCHAR"), "columns");
        check(all(data.getPrimaryKeys(null, "shop", "j"), "COLUMN_NAME", "KEY_SEQ"), List.of("id|1"), "primary key");
        check(all(data.getImportedKeys(null, "shop", "j"), "FKCOLUMN_NAME"), List.of(), "imported keys");
        check(all(data.getExportedKeys(null, "shop", "j"), "FKCOLUMN_NAME"), List.of(), "exported keys");
        check(all(data.getCrossReference(null, "shop", "j", null, "shop", "j"), "FKCOLUMN_NAME"), List.of(), "cross reference");
        check(data.supportsTransactions(), true, "transactions");
        // The number that FlightSql.proto has for it, which is not that of JDBC.
        check(data.getDefaultTransactionIsolation(), 3, "isolation");
        check(data.supportsTransactionIsolationLevel(Connection.TRANSACTION_REPEATABLE_READ), true, "repeatable read");
        check(data.supportsTransactionIsolationLevel(Connection.TRANSACTION_SERIALIZABLE), false, "serializable");
        check(data.dataDefinitionCausesTransactionCommit(), true, "DDL commits");
        check(data.supportsSavepoints(), false, "savepoints");
        check(data.supportsBatchUpdates(), true, "batches");
        check(data.getMaxStatementLength() > 0, true, "length of a statement");
        check(data.getMaxColumnNameLength(), 255, "length of a name");
        check(data.getIdentifierQuoteString(), "\"", "quotes");
        check(data.supportsUnionAll() && data.supportsCorrelatedSubqueries() && data.supportsFullOuterJoins(), true, "queries");
        check(data.getSQLKeywords().contains("OPTIMIZE"), true, "keywords");
    }

    static void errors(Connection connection) throws SQLException {
        for (String[] mistake : new String[][] {{"SELEC 1", "line 1"}, {"SELECT * FROM nowhere", "main.nowhere"}}) {
            try (Statement statement = connection.createStatement()) {
                statement.execute(mistake[0]);
                throw new AssertionError("no error: " + mistake[0]);
            } catch (SQLException error) {
                check(error.getMessage().contains(mistake[1]), true, error.getMessage());
            }
        }
    }

    static String state(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            List<String> states = all(statement.executeQuery("SELECT state FROM system.queries WHERE sql LIKE '%" + text + "%' AND sql NOT LIKE '%system%'"), "state");
            return states.isEmpty() ? "none" : states.get(0);
        }
    }

    /** A result that is closed early ends its statement. */
    static void cancel(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE shop.t AS SELECT unnest(range(0, 3000)) AS n");
            ResultSet rows = statement.executeQuery("SELECT a.n AS given_up, b.n FROM shop.t AS a, shop.t AS b, shop.t AS c");
            check(rows.next(), true, "a row");
            rows.close();
        }
        for (int n = 0; n < 600 && !state(connection, "AS given_up").equals("CANCELLED"); n++) {
            Thread.sleep(50);
        }
        check(state(connection, "AS given_up"), "CANCELLED", "the statement whose result was closed");
    }

    /** The driver sets the catalog when it is told one, and keeps the cookie of the session. */
    static void sessions(String url) throws SQLException {
        Connection connection = DriverManager.getConnection(url + "&catalog=whimbrel");
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT count(*) AS n FROM shop.j")) {
            check(rows.next() && rows.getLong(1) == 4, true, "rows");
        }
        try {
            connection.close();
        } catch (SQLException error) {
            // 18.3 closes its channel before its session, whatever the server is.
            check(error.getMessage(), "Channel shutdown invoked", "closing");
        }
        try (Connection other = DriverManager.getConnection(url + "&catalog=other")) {
            throw new AssertionError("there is no such catalog");
        } catch (SQLException error) {
            check(String.valueOf(error.getMessage()).toLowerCase().contains("catalog"), true, "why: " + error);
        }
    }
}
