"""The cases, and what a runner in Python needs: values written down, and the report."""

from __future__ import annotations

import datetime
import decimal
import itertools
import json
import pathlib
import time
import tomllib
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent


@dataclass(frozen=True)
class Place:
    """Where the servers are: one open to everybody, one with TLS and the user ada."""

    flight: str
    postgres: str
    tls_flight: str
    tls_postgres: str
    authority: str
    user: str = "ada"
    password: str = "pä55:word"

    def host_port(self, which: str) -> tuple[str, int]:
        host, port = getattr(self, which).rsplit(":", 1)
        return host, int(port)


def load() -> dict:
    cases = tomllib.loads((HERE / "cases.toml").read_text())
    for number, case in enumerate(cases["type"]):
        case["number"] = number
    return cases


def reads(cases: dict) -> list[dict]:
    return cases["type"]


def binds(cases: dict) -> list[dict]:
    return [case for case in cases["type"] if "store" in case]


class NoSuchCall(Exception):
    """The driver has no call for this."""


def driver_does(command: str):
    """Marks the method of a runner that answers a command of the list."""

    def mark(method):
        method.command = command
        return method

    return mark


class Runner:
    """Asks one driver for every case. Its methods are what does not depend on the driver."""

    driver: str
    version: str
    #: How the driver writes two parameters, and how it could also write them.
    parameters = ("?", "?")
    dollars = ("$1", "$2")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.names = (f"{type(self).__name__.lower()}_{n}" for n in itertools.count())

    def rows(self, sql: str, parameters: tuple = ()) -> list[tuple]:
        raise NotImplementedError

    def effect(self, sql: str, rows: list[tuple] | None = None) -> int:
        """Runs a statement once, or once for each row of parameters, and tells the rows that it changed."""
        raise NotImplementedError

    def report(self) -> list[dict]:
        """Asks for everything; an answer that is not the expected one is as much a hole as an error."""
        cases, results = load(), []
        commands = {}
        for name in dir(self):
            method = getattr(self, name)
            if hasattr(method, "command"):
                commands[method.command] = method
        known = {case["name"] for case in cases["command"]}
        assert commands.keys() <= known, commands.keys() - known

        def ask(group, name, expected, call):
            result = {"driver": self.driver, "version": self.version, "group": group, "case": name}
            try:
                if call is None:
                    raise NoSuchCall
                got = call()
                result |= {"state": "yes"} if got == expected else {"state": "no", "text": f"{got!r}, not {expected!r}"}
            except (NoSuchCall, NotImplementedError):
                result |= {"state": "none"}
            except Exception as error:  # whatever a driver raises is its answer
                text = " ".join(f"{type(error).__name__}: {error}".split())
                result |= {"state": "no", "text": text[:300]}
            results.append(result)

        for case in reads(cases):
            ask("Types, read", case["name"], case["value"], lambda case=case: self.read(case))
        for case in binds(cases):
            ask("Types, as parameters", case["name"], case["value"], lambda case=case: self.bind(case))
        for case in cases["command"]:
            ask(case["group"], case["name"], case["value"], commands.get(case["name"]))
        return results

    def table(self, columns: str) -> str:
        name = next(self.names)
        self.effect(f"CREATE TABLE {name} ({columns})")
        return name

    def read(self, case: dict) -> str:
        return written(case["kind"], self.rows(f"SELECT {case['sql']} AS v")[0][0])

    def bind(self, case: dict) -> str:
        table, value, sign = self.table(f"v {case['store']}"), native(case), self.parameters[0]
        self.effect(f"INSERT INTO {table} VALUES ({sign})", [(value,)])
        if value is None:
            return written(case["kind"], self.rows(f"SELECT v FROM {table}")[0][0])
        return written(case["kind"], self.rows(f"SELECT v FROM {table} WHERE v = {sign}", (value,))[0][0])

    @driver_does("query")
    def query(self):
        return joined(self.rows("SELECT 1 AS a, 'x' AS b")[0])

    @driver_does("query of a million rows")
    def million(self):
        rows = self.rows("SELECT value FROM generate_series(0, 999999)")
        return joined((len(rows), sum(row[0] for row in rows)))

    @driver_does("update tells its count")
    def count(self):
        return str(self.effect(f"INSERT INTO {self.table('a BIGINT')} VALUES (1), (2), (3)"))

    @driver_does("DDL and DML take effect once")
    def once(self):
        table = self.table("a BIGINT")
        self.effect(f"INSERT INTO {table} VALUES (1)")
        return str(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def two_parameters(self, first: str, second: str) -> str:
        sql = f"SELECT a, b FROM (VALUES (1, 'a'), (2, 'b')) AS t (a, b) WHERE a = {first} AND b = {second}"
        return joined(self.rows(sql, (2, "b"))[0])

    @driver_does("parameters `?` or `%s`")
    def marks(self):
        if self.parameters is None:
            raise NoSuchCall
        return self.two_parameters(*self.parameters)

    @driver_does("parameters `$1`")
    def numbered(self):
        if self.dollars is None:
            raise NoSuchCall
        return self.two_parameters(*self.dollars)

    @driver_does("prepared update with many rows is one commit")
    def batch(self):
        table = self.table("a BIGINT, b STRING")
        values = ", ".join(self.parameters)
        done = self.effect(f"INSERT INTO {table} VALUES ({values})", [(1, "a"), (2, None), (3, "c")])
        commits = self.rows(f"DESCRIBE HISTORY {table}")
        return joined((done, len(commits) - 1))

    def is_told(self, error: Exception) -> bool:
        """Whether the driver's error says that a table is missing, and which."""
        raise NotImplementedError

    @driver_does("a mistake is told, and the session goes on")
    def mistake(self):
        try:
            self.rows("SELECT * FROM no_such_table")
        except Exception as error:
            assert "no_such_table" in str(error) and self.is_told(error), error
            return str(self.rows("SELECT 1")[0][0])
        return "no error"

    @driver_does("cancel")
    def cancel(self):
        mark = next(self.names)
        self.cancelled(SLOW.format(name=mark), lambda: self.running(mark, "AND state = 'RUNNING'") > 0)
        last = time.monotonic() + 20
        while self.running(mark) > 0:
            if time.monotonic() > last:
                return "still running"
            time.sleep(0.05)
        return "cancelled"

    def running(self, mark: str, and_so: str = "") -> int:
        sql = f"SELECT count(*) FROM system.queries WHERE finished_at IS NULL AND sql LIKE '%{mark}%' AND sql NOT LIKE '%system.queries%'"
        return int(self.rows(f"{sql} {and_so}")[0][0])

    def cancelled(self, sql: str, runs) -> None:
        """Starts a statement that would run for hours, waits until `runs()`, and cancels it."""
        raise NoSuchCall

    def stayed(self, table: str) -> str:
        rows = self.rows(f"SELECT count(*) FROM {table}")[0][0]
        return NOTHING_STAYED if int(rows) == 0 else f"{rows} rows stayed"

    @driver_does("login with a password, over TLS")
    def right_password(self):
        return self.login(self.place.password)

    @driver_does("a wrong password is refused")
    def wrong_password(self):
        try:
            return self.login("wrong")
        except Exception as error:
            assert self.is_refused(error), error
            return "refused"

    def login(self, password: str) -> str:
        """Who one is after a login over TLS."""
        raise NoSuchCall

    def is_refused(self, error: Exception) -> bool:
        raise NotImplementedError


#: A write that was rolled back: refused at once, or undone.
NOTHING_STAYED = "nothing stayed"
SLOW = (
    "SELECT count(*) AS {name} FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b "
    "WHERE a.value % 7 = b.value % 11"
)


def joined(values) -> str:
    return "|".join(map(str, values))


def eventually(holds) -> None:
    last = time.monotonic() + 20
    while not holds():
        if time.monotonic() > last:
            raise TimeoutError("it does not come to be")
        time.sleep(0.05)


# --- values ---------------------------------------------------------------------------------------


def written(kind: str, value) -> str:
    """A value of Python as the cases write it."""
    if value is None:
        return "null"
    match kind:
        case "bool":
            return {True: "true", False: "false"}[value]
        case "int":
            assert int(value) == value and not isinstance(value, bool)
            return str(int(value))
        case "float":
            assert isinstance(value, float)
            return repr(value)
        case "decimal":
            assert isinstance(value, decimal.Decimal)
            return format(value, "f")
        case "text":
            assert isinstance(value, str)
            return value
        case "bytes":
            return bytes(value).hex()
        case "date":
            assert type(value) is datetime.date
            return value.isoformat()
        case "time":
            return value.isoformat(timespec="microseconds")
        case "timestamp":
            assert value.tzinfo is None
            return _micros(value)
        case "timestamptz":
            return _micros(value.astimezone(datetime.timezone.utc).replace(tzinfo=None)) + "Z"
        case "interval":
            return _interval(value)
        case "json":
            return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))
    raise ValueError(f"{kind}: {value!r}")


def _micros(value) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%f")


def _interval(value) -> str:
    if hasattr(value, "nanoseconds"):
        return f"{value.months} {value.days} {value.nanoseconds // 1000}"
    return f"0 {value.days} {value.seconds * 1_000_000 + value.microseconds}"


def _plain(value):
    if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return dict(value)  # a map of Arrow
    if isinstance(value, str) and value[:1] in "{[":
        return json.loads(value)
    return value


def native(case: dict):
    """The case's value as a value of Python."""
    text = case["value"]
    match case["kind"]:
        case "null":
            return None
        case "bool":
            return text == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "decimal":
            return decimal.Decimal(text)
        case "text":
            return text
        case "bytes":
            return bytes.fromhex(text)
        case "date":
            return datetime.date.fromisoformat(text)
        case "timestamp":
            return datetime.datetime.fromisoformat(text)
        case "timestamptz":
            return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    raise ValueError(case["kind"])
