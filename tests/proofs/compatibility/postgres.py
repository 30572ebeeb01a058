"""psycopg and psql, on the Postgres port."""

from __future__ import annotations

import csv
import datetime
import decimal
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import threading

import psycopg
from cases import NoSuchCall, Place, Runner, driver_does, eventually, joined, written


class Psycopg(Runner):
    driver = "psycopg"
    version = importlib.metadata.version("psycopg")
    parameters = ("%s", "%s")
    dollars = None

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.connection = self.connect()

    def connect(self, **options):
        host, port = self.place.host_port("postgres")
        return psycopg.connect(**{"host": host, "port": port, "dbname": "whimbrel", "user": "ada", "autocommit": True, **options})

    def rows(self, sql, parameters=()):
        return self.connection.execute(sql, parameters or None).fetchall()

    def effect(self, sql, rows=None):
        with self.connection.cursor() as cursor:
            if rows is None:
                cursor.execute(sql)
            else:
                cursor.executemany(sql, rows)
            return cursor.rowcount

    @driver_does("query without rows has its columns")
    def empty(self):
        cursor = self.connection.execute("SELECT 1 AS a, 'x' AS b WHERE false")
        return joined((",".join(column.name for column in cursor.description), len(cursor.fetchall())))

    @driver_does("prepared query, run again")
    def again(self):
        table, found = self.table("a BIGINT"), []
        for n in (1, 2):
            self.effect(f"INSERT INTO {table} VALUES ({n})")
            query = f"SELECT count(*) FROM {table} WHERE a > %s"
            found.append(self.connection.execute(query, (0,), prepare=True).fetchone()[0])
        return joined(found)

    def is_told(self, error):
        return error.sqlstate == "42P01"

    def cancelled(self, sql, runs):
        with self.connect() as other:
            running = threading.Thread(target=_ignoring_errors, args=(lambda: other.execute(sql),))
            running.start()
            eventually(runs)
            other.cancel_safe()
            running.join(20)

    @driver_does("bulk ingest: create, append, replace")
    def ingest(self):
        # COPY is the Postgres way; it appends, and SQL creates and empties.
        table, told = self.table("id BIGINT"), []
        for ids in ([1, 2], [3, 4], [5]):
            with self.connection.cursor() as cursor:
                if ids == [5]:
                    cursor.execute(f"TRUNCATE {table}")
                with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                    for n in ids:
                        copy.write_row((n,))
            told.append(self.rows(f"SELECT count(*) FROM {table}")[0][0])
        return joined(told)

    @driver_does("rollback of a write")
    def rollback(self):
        table = self.table("a BIGINT")
        with self.connect(autocommit=False) as other:
            other.execute(f"INSERT INTO {table} VALUES (1)")
            other.rollback()
        return self.stayed(table)

    @driver_does("catalogs")
    def catalogs(self):
        return ",".join(row[0] for row in self.rows("SELECT datname FROM pg_catalog.pg_database"))

    @driver_does("schemas")
    def schemas(self):
        return ",".join(row[0] for row in self.rows("SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname LIKE 'compat%'"))

    @driver_does("columns of a table")
    def columns(self):
        found = self.rows(
            "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = 'compat_schema.orders'::regclass AND attnum > 0 ORDER BY attnum"
        )
        return ",".join(row[0] for row in found)

    @driver_does("primary key")
    def primary_key(self):
        found = self.rows(
            """SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
               ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
               WHERE i.indrelid = 'compat_schema.orders'::regclass AND i.indisprimary"""
        )
        return ",".join(row[0] for row in found)

    @driver_does("name of the server")
    def server(self):
        return "Whimbrel" if "Whimbrel" in self.rows("SELECT version()")[0][0] else self.rows("SELECT version()")[0][0]

    @driver_does("schema of the session")
    def schema(self):
        with self.connect(options="-c search_path=compat_schema") as other:
            return str(other.execute("SELECT count(*) FROM orders").fetchone()[0])

    def login(self, password):
        host, port = self.place.host_port("tls_postgres")
        options = {"host": host, "port": port, "user": self.place.user, "password": password}
        with self.connect(**options, sslmode="verify-full", sslrootcert=self.place.authority) as other:
            return other.execute("SELECT current_user").fetchone()[0]

    def is_refused(self, error):
        return "password" in str(error)


PSQL = os.environ.get("WHIMBREL_TEST_PSQL") or shutil.which("psql") or "psql"


class Psql(Runner):
    """Prints texts, which are read back here."""

    driver = "psql"
    parameters = None

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        told = subprocess.run([PSQL, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = re.search(r"\d+\.\d+", told).group()

    def psql(self, *commands: str, format: str = "--csv", **settings: str) -> str:
        host, port = self.place.host_port("postgres")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        environment |= {"PGHOST": host, "PGPORT": str(port), "PGDATABASE": "whimbrel", "PGUSER": "ada"} | settings
        arguments = [PSQL, "-X", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", format, "-P", "null=\\N"]
        script = "\n".join(command if command.startswith("\\") or "\\g" in command else f"{command};" for command in commands)
        done = subprocess.run(arguments, input=script, capture_output=True, text=True, timeout=60, env=environment)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    def rows(self, sql, parameters=()):
        if parameters:
            raise NoSuchCall
        return [tuple(row) for row in list(csv.reader(self.psql(sql).splitlines()))[1:]]

    def effect(self, sql, rows=None):
        if rows is not None:
            raise NoSuchCall
        told = self.psql(sql).split()[-1]
        return int(told) if told.isdigit() else -1

    def read(self, case):
        return written(case["kind"], _of_text(case["kind"], self.rows(f"SELECT {case['sql']} AS v")[0][0]))

    def bind(self, case):
        raise NoSuchCall

    @driver_does("prepared update with many rows is one commit")
    def batch(self):
        raise NoSuchCall

    @driver_does("query of a million rows")
    def million(self):
        numbers = self.psql("SELECT value FROM generate_series(0, 999999)").split()[1:]
        return joined((len(numbers), sum(map(int, numbers))))

    @driver_does("query without rows has its columns")
    def empty(self):
        lines = self.psql("SELECT 1 AS a, 'x' AS b WHERE false").splitlines()
        return joined((lines[0], len(lines) - 1))

    @driver_does("columns before execution")
    def before(self):
        lines = self.psql("SELECT 1 AS a, 'x' AS b \\gdesc").splitlines()[1:]
        return ",".join(line.split(",")[0] for line in lines)

    def is_told(self, error):
        return "42P01" in str(error)

    @driver_does("tables, by pattern and type")
    def tables(self):
        found = [line.split(",") for line in self.psql("\\dtv compat_schema.*").splitlines()[1:]]
        return ",".join(sorted(f"{line[1]}:{line[2].upper()}" for line in found))

    @driver_does("catalogs")
    def catalogs(self):
        return ",".join(line.split(",")[0] for line in self.psql("\\l").splitlines()[1:])

    @driver_does("schemas")
    def schemas(self):
        return ",".join(line.split(",")[0] for line in self.psql("\\dn compat*").splitlines()[1:])

    @driver_does("columns of a table")
    def columns(self):
        return ",".join(line.split(",")[0] for line in self.psql("\\d compat_schema.orders").splitlines()[1:4])

    @driver_does("primary key")
    def primary_key(self):
        return ",".join(re.findall(r'"orders_pkey" PRIMARY KEY, \w+ \((.*?)\)', self.psql("\\d compat_schema.orders", format="--no-align")))

    @driver_does("bulk ingest: create, append, replace")
    def ingest(self):
        table, told = self.table("id BIGINT"), []
        for text in ("1\n2", "3\n4", "5"):
            empty = [f"TRUNCATE {table}"] if text == "5" else []
            subprocess_input = f"\\copy {table} FROM PROGRAM 'printf \"{text}\\n\"'".replace("\n", "\\n")
            self.psql(*empty, subprocess_input)
            told.append(self.rows(f"SELECT count(*) FROM {table}")[0][0])
        return joined(told)

    @driver_does("rollback of a write")
    def rollback(self):
        table = self.table("a BIGINT")
        self.psql("BEGIN", f"INSERT INTO {table} VALUES (1)", "ROLLBACK")
        return self.stayed(table)

    @driver_does("schema of the session")
    def schema(self):
        return self.psql("SELECT count(*) FROM orders", PGOPTIONS="-c search_path=compat_schema").split()[-1]

    def login(self, password):
        host, port = self.place.host_port("tls_postgres")
        settings = {"PGHOST": host, "PGPORT": str(port), "PGUSER": self.place.user, "PGPASSWORD": password}
        return self.psql("SELECT current_user", **settings, PGSSLMODE="verify-full", PGSSLROOTCERT=self.place.authority).split()[-1]

    def is_refused(self, error):
        return "password" in str(error)


def _of_text(kind: str, text: str):
    if text == "\\N":
        return None
    match kind:
        case "bool":
            return {"t": True, "f": False}[text]
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "decimal":
            return decimal.Decimal(text)
        case "bytes":
            return bytes.fromhex(text.removeprefix("\\x"))
        case "date":
            return datetime.date.fromisoformat(text)
        case "time":
            return datetime.time.fromisoformat(text.ljust(15, "0"))
        case "timestamp" | "timestamptz":
            return datetime.datetime.fromisoformat(text.replace("+00", "+00:00"))
        case "interval":
            months, days, clock = re.fullmatch(r"(?:(\d+) mons? )?(?:(\d+) days? )?([\d:.]+)", text).groups(default="0")
            hours, minutes, seconds = clock.split(":")
            return Interval(int(months), int(days), int((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1e9))
        case "json" if text.startswith("{") and not text.startswith('{"a"') and not text.startswith('{"k"'):
            return [None if item == "NULL" else item for item in _array(text)]
        case "json":
            return json.loads(text)
    return text


class Interval:
    def __init__(self, months: int, days: int, nanoseconds: int) -> None:
        self.months, self.days, self.nanoseconds = months, days, nanoseconds


def _array(text: str) -> list:
    """A one-dimensional array as Postgres writes it."""
    items = re.findall(r'"((?:[^"\\]|\\.)*)"|([^,{}]+)', text)
    items = [re.sub(r"\\(.)", r"\1", quoted) if not plain else plain for quoted, plain in items]
    return [int(item) if item.lstrip("-").isdigit() else item for item in items]


def _ignoring_errors(call) -> None:
    try:
        call()
    except psycopg.Error:
        pass


RUNNERS = [Psycopg, Psql]
