import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOut;

/** pgjdbc in transaction mode. Settings come from PG… variables; ends at the first check that fails. */
public final class Driver {
    private static final int POOL_SIZE = Integer.parseInt(System.getenv("COMPAT_POOL_SIZE"));

    /** A check that failed. */
    private static final class Failed extends RuntimeException {
        private static final long serialVersionUID = 1;

        Failed(String said) {
            super(said);
        }
    }

    private interface Work {
        void run() throws Exception;
    }

    private static void ok(String name) {
        System.out.println("ok - " + name);
    }

    private static void same(String name, Object want, Object got) {
        equal(name, want, got);
        ok(name);
    }

    private static void equal(String name, Object want, Object got) {
        if (!Objects.equals(want, got)) {
            throw new Failed(name + ": expected " + want + ", got " + got);
        }
    }

    private static String stateOf(Work work) throws Exception {
        try {
            work.run();
        } catch (SQLException error) {
            return error.getSQLState();
        }
        return "no error";
    }

    private static Connection connect(String... options) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("sslmode", "disable");
        for (int i = 0; i < options.length; i += 2) {
            properties.setProperty(options[i], options[i + 1]);
        }
        return at(System.getenv("PGDATABASE"), properties);
    }

    private static Connection at(String database, Properties properties) throws SQLException {
        String at = System.getenv("PGHOST") + ":" + System.getenv("PGPORT");
        return DriverManager.getConnection("jdbc:postgresql://" + at + "/" + database, properties);
    }

    private static Object value(Connection conn, String query) throws SQLException {
        try (Statement statement = conn.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            rows.next();
            return rows.getObject(1);
        }
    }

    private static void run(Connection conn, String query) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.execute(query);
        }
    }

    private interface Client {
        Set<Integer> work(int number) throws Exception;
    }

    private static List<Set<Integer>> many(int clients, Client client) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(clients);
        try {
            List<Callable<Set<Integer>>> calls = new ArrayList<>();
            for (int i = 0; i < clients; i++) {
                int number = i;
                calls.add(() -> client.work(number));
            }
            List<Set<Integer>> results = new ArrayList<>();
            for (Future<Set<Integer>> result : threads.invokeAll(calls)) {
                results.add(result.get());
            }
            return results;
        } finally {
            threads.shutdownNow();
        }
    }

    private static void sharedServers(String name, List<Set<Integer>> pids) {
        Set<Integer> all = new HashSet<>();
        pids.forEach(all::addAll);
        if (all.size() < 2 || all.size() > POOL_SIZE) {
            throw new Failed(name + ": " + all.size() + " servers");
        }
        if (pids.stream().noneMatch(mine -> mine.size() > 1)) {
            throw new Failed(name + ": no client changed servers");
        }
        ok(name + ": " + all.size() + " servers for " + pids.size() + " clients, changing");
    }

    private static void queries() throws Exception {
        try (Connection conn = connect("ApplicationName", "jdbc", "options", "-c statement_timeout=12345")) {
            DatabaseMetaData about = conn.getMetaData();
            same("server version", System.getenv("COMPAT_VERSION"), String.valueOf(about.getDatabaseMajorVersion()));
            same("application_name", "jdbc", value(conn, "SHOW application_name"));
            same("options of the startup packet", "12345ms", value(conn, "SHOW statement_timeout"));
            run(conn, "CREATE TABLE jdbc_types (i int PRIMARY KEY, l bigint, t text, b bytea, n numeric, a int[], d date)");
            String insert = "INSERT INTO jdbc_types VALUES (?, ?, ?, ?, ?, ?, ?)";
            try (PreparedStatement into = conn.prepareStatement(insert)) {
                for (int i = 0; i < 10; i++) { // more than prepareThreshold: text first, binary later
                    into.setInt(1, i);
                    into.setLong(2, Long.MIN_VALUE + i);
                    into.setString(3, i == 5 ? null : "ünïcode '\"\\ " + i);
                    into.setBytes(4, new byte[] {0, (byte) 255, (byte) i});
                    into.setBigDecimal(5, new java.math.BigDecimal("123456789.000000001"));
                    into.setArray(6, conn.createArrayOf("int4", new Integer[] {i, null, 3}));
                    into.setDate(7, java.sql.Date.valueOf("2024-02-29"));
                    equal("INSERT", 1, into.executeUpdate());
                }
            }
            try (PreparedStatement from = conn.prepareStatement("SELECT * FROM jdbc_types WHERE i = ?")) {
                for (int i = 0; i < 10; i++) {
                    from.setInt(1, i);
                    try (ResultSet row = from.executeQuery()) {
                        row.next();
                        equal("bigint", Long.MIN_VALUE + i, row.getLong("l"));
                        equal("text", i == 5 ? null : "ünïcode '\"\\ " + i, row.getString("t"));
                        equal("bytea", (byte) i, row.getBytes("b")[2]);
                        equal("numeric", "123456789.000000001", row.getBigDecimal("n").toString());
                        Array array = row.getArray("a");
                        equal("int[]", Arrays.asList(i, null, 3), Arrays.asList((Integer[]) array.getArray()));
                        equal("date", "2024-02-29", row.getDate("d").toString());
                    }
                }
            }
            ok("values there and back, text and binary");
            try (ResultSet columns = about.getColumns(null, "public", "jdbc_types", "%")) {
                int count = 0;
                while (columns.next()) {
                    count++;
                }
                same("DatabaseMetaData.getColumns", 7, count);
            }
            try (ResultSet keys = about.getPrimaryKeys(null, "public", "jdbc_types")) {
                same("DatabaseMetaData.getPrimaryKeys", true, keys.next());
            }
            try (PreparedStatement about1 = conn.prepareStatement("SELECT * FROM jdbc_types WHERE l = ?")) {
                same("describe without running", "t 7 1", about1.getMetaData().getColumnName(3) + " "
                    + about1.getMetaData().getColumnCount() + " " + about1.getParameterMetaData().getParameterCount());
            }
            try (PreparedStatement keys = conn.prepareStatement("INSERT INTO jdbc_types VALUES (99)", Statement.RETURN_GENERATED_KEYS)) {
                keys.executeUpdate();
                keys.getGeneratedKeys().next();
                ok("generated keys");
            }
            run(conn, "DROP TABLE jdbc_types");
            try (Statement several = conn.createStatement()) {
                several.execute("SELECT 1; SELECT 2; SELECT 3");
                equal("another result", true, several.getMoreResults());
                several.getResultSet().next();
                same("several statements", 2, several.getResultSet().getInt(1));
            }
            for (String[] wrong : new String[][] {
                {"42601", "SELEC"}, {"42P01", "TABLE missing"}, {"22012", "SELECT 1/0"}, {"25001", "SELECT 1; VACUUM"},
                {"22P02", "SELECT 'x'::int"}, {"P0001", "DO $$BEGIN RAISE 'x'; END$$"}}) {
                same("SQLSTATE of " + wrong[1], wrong[0], stateOf(() -> run(conn, wrong[1])));
                same("and the session goes on", 1, value(conn, "SELECT 1"));
            }
            try (Statement noisy = conn.createStatement()) {
                noisy.execute("DO $$BEGIN RAISE WARNING 'noticed'; END$$");
                same("notices", "noticed", noisy.getWarnings().getMessage());
            }
        }
        same("a wrong password", "28P01", stateOf(() -> connect("password", "wrong").close()));
    }

    private static void prepared() throws Exception {
        for (String threshold : new String[] {"1", "5", "-1"}) {
            sharedServers("prepareThreshold=" + threshold, many(3 * POOL_SIZE, number -> {
                Set<Integer> pids = new HashSet<>();
                try (Connection conn = connect("prepareThreshold", threshold, "ApplicationName", "rider " + number);
                     PreparedStatement mine = conn.prepareStatement("SELECT ? + " + number + ", pg_backend_pid(), current_setting('application_name')")) {
                    conn.setAutoCommit(number % 2 == 0);
                    for (int turn = 0; turn < 60; turn++) {
                        mine.setInt(1, turn);
                        try (ResultSet row = mine.executeQuery()) {
                            row.next();
                            equal("an answer", turn + number, row.getInt(1));
                            equal("a setting", "rider " + number, row.getString(3));
                            pids.add(row.getInt(2));
                        }
                        try (PreparedStatement other = conn.prepareStatement("SELECT ?::text || '" + turn % 7 + "'")) {
                            other.setString(1, "x" + number);
                            try (ResultSet row = other.executeQuery()) {
                                row.next();
                                equal("another answer", "x" + number + turn % 7, row.getString(1));
                            }
                        }
                        if (!conn.getAutoCommit()) {
                            if (turn % 3 == 0) {
                                conn.rollback();
                            } else {
                                conn.commit();
                            }
                        }
                    }
                }
                return pids;
            }));
        }
        try (Connection conn = connect("prepareThreshold", "1", "preparedStatementCacheQueries", "3")) {
            for (int turn = 0; turn < 60; turn++) {
                try (PreparedStatement mine = conn.prepareStatement("SELECT ? * " + turn % 7)) {
                    mine.setInt(1, turn);
                    try (ResultSet row = mine.executeQuery()) {
                        row.next();
                        equal("more statements than the cache holds", turn * (turn % 7), row.getInt(1));
                    }
                }
            }
            ok("more statements than the cache holds: old ones are closed");
            run(conn, "CREATE TABLE jdbc_shape (a int)");
            try (PreparedStatement all = conn.prepareStatement("SELECT * FROM jdbc_shape"); Connection other = connect()) {
                all.executeQuery().close();
                all.executeQuery().close();
                run(other, "ALTER TABLE jdbc_shape ADD b int");
                // pgjdbc prepares again by itself after 0A000 outside of a transaction.
                try (ResultSet rows = all.executeQuery()) {
                    same("after the columns changed", 2, rows.getMetaData().getColumnCount());
                }
                conn.setAutoCommit(false);
                all.executeQuery().close();
                run(other, "DROP TABLE IF EXISTS jdbc_other");
                conn.commit();
                run(other, "ALTER TABLE jdbc_shape ADD c int");
                same("in a transaction", "0A000", stateOf(() -> {
                    run(conn, "SELECT 1");
                    all.executeQuery().close();
                }));
                conn.rollback();
                conn.setAutoCommit(true);
            }
            run(conn, "DROP TABLE jdbc_shape");
            try (PreparedStatement mine = conn.prepareStatement("SELECT ? + 1")) {
                for (int turn = 0; turn < 3; turn++) {
                    run(conn, turn == 1 ? "DISCARD ALL" : "DEALLOCATE ALL");
                    mine.setInt(1, turn);
                    try (ResultSet row = mine.executeQuery()) {
                        row.next();
                        equal("after DEALLOCATE ALL", turn + 1, row.getInt(1));
                    }
                }
            }
            ok("after DEALLOCATE ALL and DISCARD ALL");
        }
        for (String mode : new String[] {"simple", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection conn = connect("preferQueryMode", mode)) {
                for (int i = 0; i < 8; i++) {
                    equal("preferQueryMode", i, value(conn, "SELECT " + i));
                }
            }
            ok("preferQueryMode=" + mode);
        }
    }

    private static void batches() throws Exception {
        for (String rewrite : new String[] {"false", "true"}) {
            try (Connection conn = connect("reWriteBatchedInserts", rewrite, "prepareThreshold", "1")) {
                run(conn, "CREATE TABLE jdbc_batch (id int PRIMARY KEY, name text)");
                try (PreparedStatement into = conn.prepareStatement("INSERT INTO jdbc_batch VALUES (?, ?)")) {
                    for (int i = 0; i < 5000; i++) {
                        into.setInt(1, i);
                        into.setString(2, "name " + i);
                        into.addBatch();
                    }
                    equal("a batch's length", 5000, into.executeBatch().length);
                    same("a batch, reWriteBatchedInserts=" + rewrite, 5000L, value(conn, "SELECT count(*) FROM jdbc_batch"));
                    conn.setAutoCommit(false);
                    for (int i : new int[] {6000, 1, 6001}) {
                        into.setInt(1, i);
                        into.setString(2, "again");
                        into.addBatch();
                    }
                    try {
                        into.executeBatch();
                        throw new Failed("a duplicate in a batch was accepted");
                    } catch (BatchUpdateException error) {
                        same("a duplicate in a batch", "23505", error.getSQLState());
                    }
                    conn.rollback();
                    conn.setAutoCommit(true);
                }
                try (Statement mixed = conn.createStatement()) {
                    mixed.addBatch("UPDATE jdbc_batch SET name = 'x' WHERE id < 10");
                    mixed.addBatch("DELETE FROM jdbc_batch WHERE id < 5");
                    same("a batch of statements", "[10, 5]", Arrays.toString(mixed.executeBatch()));
                }
                run(conn, "DROP TABLE jdbc_batch");
            }
        }
    }

    private static void copies() throws Exception {
        try (Connection conn = connect()) {
            CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
            run(conn, "CREATE TABLE jdbc_copy (id int, name text)");
            StringBuilder rows = new StringBuilder();
            for (int i = 0; i < 100_000; i++) {
                rows.append(i).append("\tname ").append(i).append('\n');
            }
            same("COPY FROM STDIN", 100_000L, copy.copyIn("COPY jdbc_copy FROM STDIN", new StringReader(rows.toString())));
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            same("COPY TO STDOUT", 100_000L, copy.copyOut("COPY jdbc_copy TO STDOUT", out));
            same("the same text", rows.length(), out.toString(StandardCharsets.UTF_8).length());
            byte[] bad = ("1\tone\ntwo\ttwo\n" + "3\tthree\n".repeat(50_000)).getBytes(StandardCharsets.UTF_8);
            same("bad COPY data", "22P02", stateOf(() -> copy.copyIn("COPY jdbc_copy FROM STDIN", new ByteArrayInputStream(bad))));
            same("COPY of a missing table", "42P01", stateOf(() -> copy.copyIn("COPY missing FROM STDIN", new ByteArrayInputStream(bad))));
            CopyIn given = copy.copyIn("COPY jdbc_copy FROM STDIN");
            given.writeToCopy(bad, 0, 6);
            given.cancelCopy();
            same("the client gives a COPY up", 100_000L, value(conn, "SELECT count(*) FROM jdbc_copy"));
            // Not CopyOut.cancelCopy(): pgjdbc 42.5 loses count of the answers, with PostgreSQL itself too.
            CopyOut read = copy.copyOut("COPY (SELECT i FROM generate_series(1, 1000) i) TO STDOUT");
            int lines = 0;
            while (read.readFromCopy() != null) {
                lines++;
            }
            same("COPY row by row", 1000, lines);
            run(conn, "DROP TABLE jdbc_copy");
        }
    }

    private static void cursors() throws Exception {
        try (Connection conn = connect()) {
            conn.setAutoCommit(false);
            try (Statement statement = conn.createStatement()) {
                statement.setFetchSize(70);
                int count = 0;
                try (ResultSet rows = statement.executeQuery("SELECT i FROM generate_series(1, 1000) i")) {
                    while (rows.next()) {
                        count++;
                        equal("a row", count, rows.getInt(1));
                        if (count == 200) { // another query while the portal is open
                            equal("meanwhile", 5, value(conn, "SELECT 5"));
                        }
                    }
                }
                same("fetchSize", 1000, count);
                try (ResultSet rows = statement.executeQuery("SELECT i FROM generate_series(1, 100000) i")) {
                    rows.next();
                }
                ok("a result closed early");
                same("an error between rows", "22012", stateOf(() -> {
                    try (ResultSet rows = statement.executeQuery("SELECT 1/(500 - i) FROM generate_series(1, 1000) i")) {
                        while (rows.next()) {
                            rows.getInt(1);
                        }
                    }
                }));
                conn.rollback();
            }
        }
        many(2 * POOL_SIZE, number -> {
            try (Connection conn = connect("defaultRowFetchSize", "30", "prepareThreshold", "1")) {
                conn.setAutoCommit(false);
                for (int turn = 0; turn < 10; turn++) {
                    try (PreparedStatement mine = conn.prepareStatement("SELECT ? FROM generate_series(1, 200)")) {
                        mine.setInt(1, number);
                        int count = 0;
                        try (ResultSet rows = mine.executeQuery()) {
                            while (rows.next()) {
                                equal("a row", number, rows.getInt(1));
                                count++;
                            }
                        }
                        equal("rows", 200, count);
                    }
                    conn.commit();
                }
            }
            return null;
        });
        ok("cursors of 8 clients at once");
    }

    private static void awaitSleep(Connection other, String mark) throws SQLException {
        long until = System.nanoTime() + 20_000_000_000L;
        String query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%" + mark + "'";
        while (!value(other, query).equals(1L)) {
            if (System.nanoTime() > until) {
                throw new Failed("the query to cancel does not begin");
            }
        }
    }

    private static void cancels() throws Exception {
        AtomicBoolean stop = new AtomicBoolean();
        many(2 * POOL_SIZE, number -> {
            try (Connection conn = connect("prepareThreshold", "1"); Connection other = connect()) {
                for (int turn = 0; number == 0 && turn < 10; turn++) {
                    String mark = "round " + turn;
                    try (Statement sleeper = conn.createStatement()) {
                        Thread canceller = new Thread(() -> {
                            try {
                                awaitSleep(other, mark);
                                sleeper.cancel();
                            } catch (SQLException error) {
                                throw new Failed(error.toString());
                            }
                        });
                        canceller.start();
                        long began = System.nanoTime();
                        equal("a cancelled query", "57014", stateOf(() -> sleeper.execute("SELECT pg_sleep(60), pg_backend_pid() -- " + mark)));
                        equal("in time", true, System.nanoTime() - began < 20_000_000_000L);
                        canceller.join();
                    }
                    equal("the session goes on", 1, value(conn, "SELECT 1"));
                }
                if (number == 0) {
                    try (Statement limited = conn.createStatement()) {
                        limited.setQueryTimeout(1); // pgjdbc sends a cancel request by itself
                        equal("setQueryTimeout", "57014", stateOf(() -> limited.execute("SELECT pg_sleep(60)")));
                    }
                    stop.set(true);
                }
                try (PreparedStatement mine = conn.prepareStatement("SELECT ?, pg_sleep(0.002)")) {
                    for (int turn = 0; !stop.get(); turn++) {
                        mine.setInt(1, turn);
                        try (ResultSet row = mine.executeQuery()) {
                            row.next();
                            equal("a bystander's answer", turn, row.getInt(1));
                        }
                    }
                }
            }
            return null;
        });
        ok("10 cancels and a query timeout hit their own query and nobody else's");
    }

    private static void transactions() throws Exception {
        try (Connection conn = connect(); Connection other = connect()) {
            run(conn, "CREATE TABLE jdbc_tx (id int PRIMARY KEY)");
            conn.setAutoCommit(false);
            conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            run(conn, "INSERT INTO jdbc_tx VALUES (1)");
            Savepoint savepoint = conn.setSavepoint("a");
            same("a duplicate", "23505", stateOf(() -> run(conn, "INSERT INTO jdbc_tx VALUES (1)")));
            same("in a failed transaction", "25P02", stateOf(() -> run(conn, "SELECT 1")));
            conn.rollback(savepoint);
            run(conn, "INSERT INTO jdbc_tx VALUES (2)");
            same("isolation", "serializable", value(conn, "SHOW transaction_isolation"));
            same("nobody sees what is not committed", 0L, value(other, "SELECT count(*) FROM jdbc_tx"));
            conn.commit();
            same("committed", 2L, value(other, "SELECT count(*) FROM jdbc_tx"));
            run(conn, "INSERT INTO jdbc_tx VALUES (7)");
            conn.rollback();
            same("rolled back", 2L, value(other, "SELECT count(*) FROM jdbc_tx"));
            conn.setReadOnly(true);
            same("read only", "25006", stateOf(() -> run(conn, "INSERT INTO jdbc_tx VALUES (3)")));
            conn.rollback();
            conn.setReadOnly(false);
            conn.setAutoCommit(true);
            same("isolation is the session's", "serializable", value(conn, "SHOW transaction_isolation"));
            same("and nobody else's", "read committed", value(other, "SHOW transaction_isolation"));
            run(conn, "DROP TABLE jdbc_tx");
        }
        try (Connection conn = connect("autosave", "always")) {
            conn.setAutoCommit(false);
            run(conn, "SELECT 1");
            same("autosave: an error", "22012", stateOf(() -> run(conn, "SELECT 1/0")));
            same("autosave: the transaction goes on", 2, value(conn, "SELECT 2"));
            conn.commit();
        }
        many(2 * POOL_SIZE, number -> {
            try (Connection conn = connect()) {
                conn.setSchema("s" + number);
                conn.setClientInfo("ApplicationName", "jdbc " + number);
                for (int turn = 0; turn < 40; turn++) {
                    equal("search_path", "s" + number, String.valueOf(value(conn, "SHOW search_path")).replace("\"", ""));
                    equal("application_name", "jdbc " + number, value(conn, "SHOW application_name"));
                }
            }
            return null;
        });
        ok("settings stay with their session");
    }

    private static void console() throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("sslmode", "disable");
        for (String mode : new String[] {"extended", "simple"}) {
            properties.setProperty("preferQueryMode", mode);
            try (Connection conn = at("howdah", properties); Statement statement = conn.createStatement()) {
                boolean found = false;
                try (ResultSet pools = statement.executeQuery("SHOW POOLS")) {
                    while (pools.next()) {
                        found |= pools.getString("database").equals("app") && pools.getInt("cl_active") >= 0;
                    }
                }
                same("the console, " + mode, true, found);
                same("what is not known, " + mode, "42601", stateOf(() -> run(conn, "SHOW NOTHING")));
            }
        }
    }

    public static void main(String[] arguments) {
        System.out.println("pgjdbc " + org.postgresql.util.DriverInfo.DRIVER_VERSION);
        try {
            queries();
            prepared();
            batches();
            copies();
            cursors();
            cancels();
            transactions();
            console();
        } catch (Throwable error) {
            System.out.println("FAILED - " + error);
            error.printStackTrace(System.out);
            System.out.flush();
            Runtime.getRuntime().halt(1); // other threads may be at work
        }
    }

    private Driver() {}
}
