import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

/** What the real JDBC driver of PostgreSQL sees; the first argument is the URL. Says "ok" at the end. */
public class Jdbc {
    static void check(Object found, Object expected, String what) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": " + found + " instead of " + expected);
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            values(connection);
            fetches(connection);
            metadata(connection);
            errors(connection);
        }
        System.out.println("ok");
    }

    static void values(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE j (id BIGINT, price DECIMAL(10, 2), note VARCHAR, day DATE, at TIMESTAMP, raw BYTEA, truth BOOLEAN, ratio DOUBLE, PRIMARY KEY (id))");
        }
        String insert = "INSERT INTO j VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            for (int n = 1; n <= 12; n++) {
                statement.setLong(1, n);
                statement.setBigDecimal(2, new BigDecimal("1.50"));
                statement.setString(3, n % 2 == 0 ? null : "ä");
                statement.setDate(4, java.sql.Date.valueOf("2024-02-29"));
                statement.setTimestamp(5, Timestamp.valueOf("2024-02-29 12:30:00.5"));
                statement.setBytes(6, new byte[] {0, -1});
                statement.setBoolean(7, true);
                statement.setDouble(8, 0.1);
                check(statement.executeUpdate(), 1, "rows of an INSERT");
            }
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM j WHERE id > ? ORDER BY id")) {
            // The driver goes over to binary and to a named statement after a few runs.
            for (int run = 0; run < 8; run++) {
                statement.setLong(1, 10);
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next(), true, "a row");
                    check(rows.getLong(1), 11L, "id");
                    check(rows.getBigDecimal(2), new BigDecimal("1.50"), "price");
                    check(rows.getString(3), "ä", "note");
                    check(rows.getDate(4), java.sql.Date.valueOf("2024-02-29"), "day");
                    check(rows.getTimestamp(5), Timestamp.valueOf("2024-02-29 12:30:00.5"), "at");
                    check(Arrays.toString(rows.getBytes(6)), "[0, -1]", "raw");
                    check(rows.getBoolean(7), true, "truth");
                    check(rows.getDouble(8), 0.1, "ratio");
                    check(rows.next(), true, "another row");
                    check(rows.getString(3), null, "no note");
                    check(rows.next(), false, "an end");
                }
            }
        }
    }

    static void fetches(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(1000);
            long sum = 0;
            try (ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 12345)")) {
                while (rows.next()) {
                    sum += rows.getLong(1);
                }
            }
            check(sum, 12345L * 12346 / 2, "the sum of all rows");
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    static List<String> names(ResultSet rows, String column) throws SQLException {
        List<String> names = new ArrayList<>();
        while (rows.next()) {
            names.add(rows.getString(column));
        }
        return names;
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData metadata = connection.getMetaData();
        check(names(metadata.getTables(null, "main", "j", new String[] {"TABLE"}), "TABLE_NAME"), List.of("j"), "tables");
        check(names(metadata.getColumns(null, "main", "j", null), "TYPE_NAME"),
            List.of("int8", "numeric", "text", "date", "timestamp", "bytea", "bool", "float8"), "types of columns");
        if (!names(metadata.getSchemas(), "TABLE_SCHEM").contains("main")) {
            throw new AssertionError("main is no schema");
        }
        check(names(metadata.getImportedKeys(null, "main", "j"), "FKTABLE_NAME"), List.of(), "foreign keys");
        metadata.getTypeInfo().close();
        metadata.getTableTypes().close();
        metadata.getCatalogs().close();
        metadata.getSQLKeywords();
        check(names(metadata.getPrimaryKeys(null, "main", "j"), "COLUMN_NAME"), List.of("id"), "primary key");
        metadata.getIndexInfo(null, "main", "j", false, false).close();
        metadata.getProcedures(null, "main", null).close();
    }

    static void errors(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT * FROM nowhere");
            throw new AssertionError("no error");
        } catch (SQLException error) {
            check(error.getSQLState(), "42P01", "SQLSTATE");
        }
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("DELETE FROM j");
        }
        connection.rollback();
        connection.setAutoCommit(true);
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT count(*) > 0 FROM j")) {
            rows.next();
            check(rows.getBoolean(1), true, "rows after a rollback");
        }
    }
}
