import java.math.BigDecimal;
import java.nio.file.*;
import java.sql.*;
import java.time.*;
import java.util.*;

/**
 * What a JDBC driver sees: that of Flight SQL and that of PostgreSQL alike. Arguments: the file of cases that matrix.py
 * writes, the URL, the URL over TLS without a password, the same with the session's schema. Prints a line for each case.
 */
public class Jdbc {
    interface Question {
        String ask() throws Exception;
    }

    /** The driver has no call for this. */
    static class NoSuchCall extends Exception {}

    static final String PASSWORD = "pä55:word";
    static String url, tlsUrl, schemaUrl;
    static Connection connection;
    static int names;
    static final Map<String, Question> commands = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        System.setOut(new java.io.PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, "UTF-8"));
        url = arguments[1];
        tlsUrl = arguments[2];
        schemaUrl = arguments[3];
        connection = DriverManager.getConnection(url);
        System.out.println("version\t" + connection.getMetaData().getDriverVersion());
        register();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] part = line.split("\t", -1);
            String group = part[0], name = part[1], kind = part[2], sql = part[3], expected = part[4], store = part[5];
            Question question = switch (group) {
                case "Types, read" -> () -> read(kind, sql);
                case "Types, as parameters" -> () -> bind(kind, expected, store);
                default -> commands.get(name);
            };
            System.out.println(group + "\t" + name + "\t" + answer(question, expected));
        }
        try {
            connection.close();
        } catch (SQLException leak) {
            // Some versions find at the end that they have kept memory.
            System.err.println(oneLine(leak.toString()));
        }
        System.exit(0);
    }

    static String answer(Question question, String expected) {
        try {
            if (question == null) {
                return "none\t";
            }
            String got = question.ask();
            return got.equals(expected) ? "yes\t" : "no\t'" + oneLine(got) + "', not '" + expected + "'";
        } catch (NoSuchCall | SQLFeatureNotSupportedException error) {
            return "none\t" + oneLine(String.valueOf(error.getMessage()));
        } catch (Throwable error) {
            return "no\t" + oneLine(error.toString());
        }
    }

    static String oneLine(String text) {
        String line = text.replaceAll("\\s+", " ");
        return line.substring(0, Math.min(300, line.length()));
    }

    // --- values -----------------------------------------------------------------------------------

    static String read(String kind, String sql) throws Exception {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT " + sql + " AS v")) {
            rows.next();
            return written(kind, rows);
        }
    }

    static String bind(String kind, String value, String store) throws Exception {
        String table = table("v " + store);
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO " + table + " VALUES (?)")) {
            set(statement, kind, value);
            statement.executeUpdate();
        }
        boolean isNull = kind.equals("null");
        try (PreparedStatement statement = connection.prepareStatement("SELECT v FROM " + table + (isNull ? "" : " WHERE v = ?"))) {
            if (!isNull) {
                set(statement, kind, value);
            }
            try (ResultSet rows = statement.executeQuery()) {
                if (!rows.next()) {
                    return "no row is equal to the parameter";
                }
                return written(kind, rows);
            }
        }
    }

    static void set(PreparedStatement statement, String kind, String value) throws Exception {
        switch (kind) {
            case "null" -> statement.setNull(1, Types.BIGINT);
            case "bool" -> statement.setBoolean(1, true);
            case "int" -> statement.setLong(1, Long.parseLong(value));
            case "float" -> statement.setDouble(1, Double.parseDouble(value));
            case "decimal" -> statement.setBigDecimal(1, new BigDecimal(value));
            case "text" -> statement.setString(1, value);
            case "bytes" -> statement.setBytes(1, HexFormat.of().parseHex(value));
            case "date" -> statement.setDate(1, java.sql.Date.valueOf(value));
            case "timestamp" -> statement.setTimestamp(1, Timestamp.valueOf(LocalDateTime.parse(value)));
            case "timestamptz" -> statement.setTimestamp(1, Timestamp.from(Instant.parse(value)));
            default -> throw new IllegalArgumentException(kind);
        }
    }

    static String written(String kind, ResultSet rows) throws Exception {
        if (rows.getObject(1) == null) {
            return "null";
        }
        switch (kind) {
            case "bool":
                return String.valueOf(rows.getBoolean(1));
            case "int":
                return new BigDecimal(String.valueOf(rows.getObject(1))).toPlainString();
            case "float":
                return rows.getObject(1) instanceof Float number ? String.valueOf(number) : String.valueOf(rows.getDouble(1));
            case "decimal":
                return rows.getBigDecimal(1).toPlainString();
            case "text":
                return rows.getString(1);
            case "bytes":
                return HexFormat.of().formatHex(rows.getBytes(1));
            case "date":
                return rows.getDate(1).toLocalDate().toString();
            case "time":
                return time(rows.getTime(1));
            case "timestamp":
                return micros(rows.getTimestamp(1).toLocalDateTime());
            case "timestamptz":
                return micros(LocalDateTime.ofInstant(rows.getTimestamp(1).toInstant(), ZoneOffset.UTC)) + "Z";
            case "interval":
                return interval(rows.getObject(1));
            default:
                return json(rows.getObject(1));
        }
    }

    static String micros(LocalDateTime at) {
        return at.format(java.time.format.DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS"));
    }

    static String time(Time time) {
        LocalTime at = LocalDateTime.ofInstant(Instant.ofEpochMilli(time.getTime()), ZoneId.systemDefault()).toLocalTime();
        return at.format(java.time.format.DateTimeFormatter.ofPattern("HH:mm:ss.SSSSSS"));
    }

    /** Both drivers have classes of their own, which are named differently in each version. */
    static String interval(Object value) throws Exception {
        if (value.getClass().getSimpleName().equals("PGInterval")) {
            Class<?> kind = value.getClass();
            double seconds = (double) kind.getMethod("getSeconds").invoke(value);
            return kind.getMethod("getMonths").invoke(value) + " " + kind.getMethod("getDays").invoke(value) + " " + Math.round(seconds * 1e6);
        }
        var found = java.util.regex.Pattern.compile("P(?:(\\d+)Y)?(?:(\\d+)M)?(?:(\\d+)D)?\\s*(?:P?T?([\\d.]+)S)?").matcher(value.toString());
        if (!found.matches()) {
            return value.toString();
        }
        String seconds = found.group(4) == null ? "0" : found.group(4);
        return zero(found.group(2)) + " " + zero(found.group(3)) + " " + Math.round(Double.parseDouble(seconds) * 1e6);
    }

    static String zero(String text) {
        return text == null ? "0" : text;
    }

    static String json(Object value) throws Exception {
        if (value == null || value instanceof Number || value instanceof Boolean) {
            return String.valueOf(value);
        }
        if (value instanceof Array array) {
            return json(array.getArray());
        }
        if (value instanceof Object[] items) {
            return json(Arrays.asList(items));
        }
        if (value instanceof List<?> items) {
            // Some versions give a map as a list of structs with a key and a value.
            if (!items.isEmpty() && items.stream().allMatch(item -> item instanceof Map<?, ?> m && m.keySet().equals(Set.of("key", "value")))) {
                Map<String, Object> entries = new LinkedHashMap<>();
                for (Object item : items) {
                    entries.put(String.valueOf(((Map<?, ?>) item).get("key")), ((Map<?, ?>) item).get("value"));
                }
                return json(entries);
            }
            StringJoiner text = new StringJoiner(",", "[", "]");
            for (Object item : items) {
                text.add(json(item));
            }
            return text.toString();
        }
        if (value instanceof Map<?, ?> fields) {
            StringJoiner text = new StringJoiner(",", "{", "}");
            for (Map.Entry<?, ?> field : fields.entrySet()) {
                text.add(quoted(String.valueOf(field.getKey())) + ":" + json(field.getValue()));
            }
            return text.toString();
        }
        if (value.getClass().getSimpleName().equals("PGobject")) {
            return value.toString().replaceAll("\\s*([:,])\\s*", "$1");
        }
        return quoted(value.toString());
    }

    static String quoted(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }

    // --- commands ---------------------------------------------------------------------------------

    static String table(String columns) throws SQLException {
        String table = "jdbc_" + ProcessHandle.current().pid() + "_" + names++;
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE " + table + " (" + columns + ")");
        }
        return table;
    }

    static String first(String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        }
    }

    static List<String> column(ResultSet rows, String... names) throws SQLException {
        List<String> found = new ArrayList<>();
        try (rows) {
            while (rows.next()) {
                StringJoiner row = new StringJoiner(":");
                for (String name : names) {
                    row.add(rows.getString(name));
                }
                found.add(row.toString());
            }
        }
        return found;
    }

    static boolean isPostgres() {
        return url.startsWith("jdbc:postgresql");
    }

    static void register() {
        commands.put("query", () -> {
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT 1 AS a, 'x' AS b")) {
                rows.next();
                return rows.getInt("a") + "|" + rows.getString("b");
            }
        });
        commands.put("query of a million rows", () -> {
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(0, 999999)")) {
                long count = 0, sum = 0;
                while (rows.next()) {
                    count++;
                    sum += rows.getLong(1);
                }
                return count + "|" + sum;
            }
        });
        commands.put("query without rows has its columns", () -> {
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT 1 AS a, 'x' AS b WHERE false")) {
                ResultSetMetaData columns = rows.getMetaData();
                return columns.getColumnLabel(1) + "," + columns.getColumnLabel(2) + "|" + (rows.next() ? 1 : 0);
            }
        });
        commands.put("update tells its count", () -> {
            String table = table("a BIGINT");
            try (Statement statement = connection.createStatement()) {
                return String.valueOf(statement.executeUpdate("INSERT INTO " + table + " VALUES (1), (2), (3)"));
            }
        });
        commands.put("DDL and DML take effect once", () -> {
            String table = table("a BIGINT");
            try (Statement statement = connection.createStatement()) {
                statement.execute("INSERT INTO " + table + " VALUES (1)");
            }
            return first("SELECT count(*) FROM " + table);
        });
        commands.put("parameters `?` or `%s`", () -> parameters("?", "?"));
        commands.put("parameters `$1`", () -> {
            if (isPostgres()) {
                throw new NoSuchCall();
            }
            return parameters("$1", "$2");
        });
        commands.put("prepared query, run again", () -> {
            String table = table("a BIGINT");
            StringJoiner found = new StringJoiner("|");
            try (PreparedStatement query = connection.prepareStatement("SELECT count(*) FROM " + table + " WHERE a > ?"); Statement insert = connection.createStatement()) {
                for (int n = 1; n <= 2; n++) {
                    insert.executeUpdate("INSERT INTO " + table + " VALUES (" + n + ")");
                    query.setLong(1, 0);
                    try (ResultSet rows = query.executeQuery()) {
                        rows.next();
                        found.add(rows.getString(1));
                    }
                }
            }
            return found.toString();
        });
        commands.put("prepared update with many rows is one commit", () -> {
            String table = table("a BIGINT, b STRING");
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + table + " VALUES (?, ?)")) {
                for (int n = 1; n <= 3; n++) {
                    insert.setLong(1, n);
                    insert.setString(2, n == 2 ? null : "x");
                    insert.addBatch();
                }
                insert.executeBatch();
            }
            String count = first("SELECT count(*) FROM " + table);
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("DESCRIBE HISTORY " + table)) {
                int commits = -1;
                while (rows.next()) {
                    commits++;
                }
                return count + "|" + commits;
            }
        });
        commands.put("columns before execution", () -> {
            try (PreparedStatement statement = connection.prepareStatement("SELECT 1 AS a, 'x' AS b")) {
                ResultSetMetaData columns = statement.getMetaData();
                return columns.getColumnLabel(1) + "," + columns.getColumnLabel(2);
            }
        });
        commands.put("a mistake is told, and the session goes on", () -> {
            try {
                return first("SELECT * FROM no_such_table") + " is no error";
            } catch (SQLException error) {
                if (!String.valueOf(error.getMessage()).contains("no_such_table")) {
                    return error.getMessage();
                }
                return first("SELECT 1");
            }
        });
        commands.put("cancel", Jdbc::cancel);
        commands.put("rollback of a write", () -> {
            String table = table("a BIGINT");
            try {
                connection.setAutoCommit(false);
                if (connection.getAutoCommit()) {
                    return "nothing stayed";
                }
                try (Statement statement = connection.createStatement()) {
                    statement.executeUpdate("INSERT INTO " + table + " VALUES (1)");
                }
                connection.rollback();
            } finally {
                connection.setAutoCommit(true);
            }
            String rows = first("SELECT count(*) FROM " + table);
            return rows.equals("0") ? "nothing stayed" : rows + " rows stayed";
        });
        commands.put("catalogs", () -> String.join(",", column(connection.getMetaData().getCatalogs(), "TABLE_CAT")));
        commands.put("schemas", () -> String.join(",", column(connection.getMetaData().getSchemas(null, "compat\\_%"), "TABLE_SCHEM")));
        commands.put("tables, by pattern and type", () -> {
            ResultSet rows = connection.getMetaData().getTables(null, "compat\\_schema", "%", new String[] {"TABLE", "VIEW"});
            return String.join(",", new TreeSet<>(column(rows, "TABLE_NAME", "TABLE_TYPE")));
        });
        commands.put("table types", () -> {
            TreeSet<String> types = new TreeSet<>(column(connection.getMetaData().getTableTypes(), "TABLE_TYPE"));
            // That of PostgreSQL has a list of its own and asks nobody.
            if (isPostgres()) {
                throw new NoSuchCall();
            }
            return String.join(",", types);
        });
        commands.put("columns of a table", () -> String.join(",", column(connection.getMetaData().getColumns(null, "compat\\_schema", "orders", null), "COLUMN_NAME")));
        commands.put("primary key", () -> String.join(",", column(connection.getMetaData().getPrimaryKeys(null, "compat_schema", "orders"), "COLUMN_NAME")));
        commands.put("foreign keys", () -> {
            DatabaseMetaData metadata = connection.getMetaData();
            return column(metadata.getImportedKeys(null, "compat_schema", "orders"), "FKTABLE_NAME").size() + "|"
                + column(metadata.getExportedKeys(null, "compat_schema", "orders"), "FKTABLE_NAME").size() + "|"
                + column(metadata.getCrossReference(null, "compat_schema", "orders", null, "compat_schema", "orders"), "FKTABLE_NAME").size();
        });
        commands.put("types of the server", () -> {
            List<String> types = column(connection.getMetaData().getTypeInfo(), "TYPE_NAME");
            return types.contains("BIGINT") || types.contains("int8") ? "has BIGINT" : types.toString();
        });
        commands.put("name of the server", () -> {
            if (isPostgres()) {
                throw new NoSuchCall(); // it says "PostgreSQL" of every server
            }
            return connection.getMetaData().getDatabaseProductName();
        });
        commands.put("schema of the session", () -> {
            try (Connection other = DriverManager.getConnection(schemaUrl); Statement statement = other.createStatement(); ResultSet rows = statement.executeQuery("SELECT count(*) FROM orders")) {
                rows.next();
                return rows.getString(1);
            }
        });
        commands.put("login with a password, over TLS", () -> login(PASSWORD));
        commands.put("a wrong password is refused", () -> {
            try {
                return login("wrong");
            } catch (SQLException error) {
                return "refused";
            }
        });
    }

    static String parameters(String first, String second) throws SQLException {
        String sql = "SELECT a, b FROM (VALUES (1, 'a'), (2, 'b')) AS t (a, b) WHERE a = " + first + " AND b = " + second;
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setLong(1, 2);
            statement.setString(2, "b");
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                return rows.getString(1) + "|" + rows.getString(2);
            }
        }
    }

    static String cancel() throws Exception {
        String mark = "jdbc_" + ProcessHandle.current().pid() + "_" + names++;
        String slow = "SELECT count(*) AS " + mark + " FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b WHERE a.value % 7 = b.value % 11";
        String running = "SELECT count(*) FROM system.queries WHERE finished_at IS NULL AND sql LIKE '%" + mark + "%' AND sql NOT LIKE '%system.queries%'";
        try (Connection other = DriverManager.getConnection(url); Statement statement = other.createStatement()) {
            Thread thread = new Thread(() -> {
                try (ResultSet rows = statement.executeQuery(slow)) {
                    rows.next();
                } catch (Throwable expected) {
                    // That is what a cancelled statement answers.
                }
            });
            thread.start();
            // Planned is not enough: the driver has nothing to cancel before the rows are asked for.
            for (int n = 0; n < 400 && first(running + " AND state = 'RUNNING'").equals("0"); n++) {
                Thread.sleep(50);
            }
            statement.cancel();
            for (int n = 0; n < 400 && !first(running).equals("0"); n++) {
                Thread.sleep(50);
            }
            return first(running).equals("0") ? "cancelled" : "still running";
        }
    }

    static String login(String password) throws SQLException {
        Properties properties = new Properties();
        properties.put("user", "ada");
        properties.put("password", password);
        try (Connection other = DriverManager.getConnection(tlsUrl, properties); Statement statement = other.createStatement(); ResultSet rows = statement.executeQuery("SELECT current_user")) {
            rows.next();
            return rows.getString(1);
        }
    }
}
