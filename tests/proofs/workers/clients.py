"""Clients that change everything at once, and what each of them was told: done, refused, or not known."""

import collections
import contextlib
import enum
import random
import re
import threading
import time

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import deltalake
import pyarrow as pa

import scene
from cluster import Process

RPC_SECONDS = "20"
# gRPC codes that mean: nothing of it has happened.
REFUSALS = {
    "InvalidArgument", "NotFound", "AlreadyExists", "PermissionDenied", "FailedPrecondition", "Aborted", "Unimplemented",
    "Unauthenticated", "ResourceExhausted",
}  # fmt: skip
# What a storm of this kind has no reason to be answered with.
NEVER = {"Internal", "DataLoss", "Unimplemented", "PermissionDenied", "Unauthenticated", "InvalidArgument"}
ROWS_OF_A_GROUP = 10
SCHEMAS = {
    "facts": pa.schema([(name, pa.int64()) for name in ("id", "k", "v", "day")]),
    "events2": pa.schema([("id", pa.int64()), ("k", pa.int64()), ("v", pa.int64()), ("tag", pa.string())]),
}


class Told(enum.Enum):
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Answer:
    def __init__(self, told: Told, rows: list | None = None, error: str = "") -> None:
        self.told, self.rows, self.error = told, rows or [], error


class Books:
    """What all clients have seen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.codes: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.refusals: collections.Counter[str] = collections.Counter()

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def blame(self, what: str) -> None:
        with self.lock:
            if what not in self.wrong:
                print(f"  WRONG: {what}", flush=True)
            self.wrong.append(what)


class Session:
    """Statements to any of the servers."""

    graveyard: list = []

    def __init__(self, servers: list[Process], books: Books, chance: random.Random, over: threading.Event) -> None:
        self.servers, self.books, self.chance, self.over = servers, books, chance, over
        self.connections: dict[str, object] = {}

    def run(self, sql: str) -> Answer:
        """Sends it once; again only while nobody listens where it is sent to."""
        while True:
            server = self.chance.choice(self.servers)
            answer = self._once(server, sql)
            if answer is not None:
                self.books.count(f"statements {answer.told.value}")
                return answer
            time.sleep(0.2)

    def _once(self, server: Process, sql: str) -> Answer | None:
        try:
            connection = self.connections.get(server.name)
            if connection is None:
                limits = {f"adbc.flight.sql.rpc.timeout_seconds.{call}": RPC_SECONDS for call in ("query", "fetch", "update")}
                connection = flight_sql.connect(server.url, db_kwargs=limits, autocommit=True)
                self.connections[server.name] = connection
            cursor = connection.cursor()
            # Kept where it fails: closing it would ask a server that may be gone.
            Session.graveyard.append(cursor)
            cursor.execute(sql)
            rows = cursor.fetchall()
        except adbc_driver_manager.Error as error:
            return self._classified(server, sql, error)
        with contextlib.suppress(adbc_driver_manager.Error):
            cursor.close()
            Session.graveyard.remove(cursor)
        return Answer(Told.DONE, rows)

    def _classified(self, server: Process, sql: str, error: adbc_driver_manager.Error) -> Answer | None:
        text = str(error)
        found = re.findall(r"\((\w+); ([^()]*)\)", text)
        code, call = found[-1] if found else (error.status_code.name, "?")
        self.books.codes[f"{code} in {call.split(':')[0]}"] += 1
        if code in NEVER:
            self.books.blame(f"{sql[:300]}: {text[:600]}")
        # The driver prepares, executes, and fetches the answer; what takes effect does so when it is executed.
        takes_effect = not call.startswith(("Prepare", "DoGet"))
        if code not in REFUSALS:
            # Closing would wait for a server that may stand still.
            Session.graveyard.append(self.connections.pop(server.name, None))
            unsent = takes_effect and "connection refused" in text
            return None if call == "Prepare" or unsent else Answer(Told.UNKNOWN, error=text)
        if call.startswith("DoGet"):
            # A server that was started anew does not know what the one before has answered.
            return Answer(Told.UNKNOWN, error=text)
        if code == "NotFound" and "handle is unknown" in text:
            return None
        self.books.refusals[re.sub(r"[0-9a-f]{8}-[-0-9a-f]+|\d+", "N", text)[:140]] += 1
        return Answer(Told.REFUSED, error=text)

    def must(self, sql: str) -> list:
        """The rows; sent again until it is done, so only for what may be done twice."""
        last = time.monotonic() + 120
        while (answer := self.run(sql)).told is not Told.DONE:
            if time.monotonic() > last or answer.told is Told.REFUSED:
                raise RuntimeError(f"{sql}: {answer.error}")
        return answer.rows


class Group:
    """Rows that one client alone changes, and all that they may be by what it was told."""

    def __init__(self, table: str, first: int) -> None:
        self.table, self.first = table, first
        self.may_be: list[dict[int, tuple]] = [{}]
        self.what: list[str] = []

    @property
    def is_known(self) -> bool:
        return len(self.may_be) == 1

    def note(self, told: Told, sql: str, change) -> None:
        before = self.may_be[0]
        after = change(dict(before))
        self.what.append(f"{told.value}: {sql}")
        if told is Told.DONE:
            self.may_be = [after]
        elif told is Told.UNKNOWN and after != before:
            self.may_be = [before, after]


class Client(threading.Thread):
    """One session, which does what its seed says until the storm is over."""

    def __init__(self, number: int, storm: "Storm") -> None:
        super().__init__(daemon=True, name=f"client {number}")
        self.number, self.storm = number, storm
        self.chance = random.Random(storm.seed * 1_000 + number)
        self.session = Session(storm.servers, storm.books, self.chance, storm.over)
        self.groups: list[Group] = []
        self.pause = 0.15

    def run(self) -> None:
        while not self.storm.over.wait(self.chance.expovariate(1 / self.pause)):
            try:
                self.step()
            except Exception as error:  # noqa: BLE001
                self.storm.books.blame(f"{self.name}: {type(error).__name__}: {error}")

    def step(self) -> None:
        raise NotImplementedError

    def new_group(self, table: str) -> Group:
        group = Group(table, self.storm.next_ids())
        self.groups.append(group)
        return group

    def send(self, group: Group, sql: str, change) -> None:
        group.note(self.session.run(sql).told, sql, change)


def values(rows: dict[int, tuple]) -> str:
    def literal(value) -> str:
        return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)

    return ", ".join("(" + ", ".join(map(literal, (key, *row))) + ")" for key, row in rows.items())


class Writer(Client):
    """Changes rows of `facts` in every way, and appends to the sources of the streams."""

    def step(self) -> None:
        known = [group for group in self.groups[-60:] if group.is_known and group.table == "facts"]
        what = self.chance.random()
        if not known or what < 0.25:
            self.append("facts", self.fact)
        elif what < 0.40:
            self.append("events", self.event)
        elif what < 0.55:
            self.append("cdc", self.change_of_an_item)
        else:
            group = self.chance.choice(known)
            self.chance.choice((self.update, self.move, self.delete, self.merge, self.merge))(group)

    def fact(self) -> tuple:
        return self.chance.randrange(scene.KEYS), self.chance.randrange(1_000), self.chance.randrange(scene.DAYS)

    def event(self) -> tuple:
        v = self.chance.randrange(-200, 1_000)
        return self.chance.randrange(scene.KEYS), v, None if v >= 0 and self.chance.random() < 0.1 else "tagged"

    def change_of_an_item(self) -> tuple:
        return self.chance.choice("IUUD"), self.chance.choice(("red", "green", "blue"))

    def append(self, table: str, make) -> None:
        group = self.new_group(table)
        rows = {group.first + n: make() for n in range(self.chance.randint(1, 4))}
        listed = values(rows)
        if table == "cdc":
            items = {seq: (seq * 7 % 23, seq, *row) for seq, row in rows.items()}
            listed = ", ".join(f"({item}, {seq}, '{op}', '{note}')" for item, seq, op, note in items.values())
            rows = {seq: (item, op, note) for item, seq, op, note in items.values()}
        self.send(group, f"INSERT INTO w.{table} VALUES {listed}", lambda was: was | rows)

    def where(self, group: Group) -> str:
        return f"id BETWEEN {group.first} AND {group.first + ROWS_OF_A_GROUP - 1}"

    def update(self, group: Group) -> None:
        more = self.chance.randint(1, 50)
        sql = f"UPDATE w.facts SET v = v + {more} WHERE {self.where(group)}"
        self.send(group, sql, lambda was: {key: (k, v + more, day) for key, (k, v, day) in was.items()})

    def move(self, group: Group) -> None:
        to, least = self.chance.randrange(scene.KEYS), self.chance.randrange(1_000)
        sql = f"UPDATE w.facts SET k = {to}, day = (day + 1) % {scene.DAYS} WHERE v >= {least} AND {self.where(group)}"

        def change(was: dict) -> dict:
            return {
                key: (to, v, (day + 1) % scene.DAYS) if v >= least else (k, v, day) for key, (k, v, day) in was.items()
            }

        self.send(group, sql, change)

    def delete(self, group: Group) -> None:
        sql = f"DELETE FROM w.facts WHERE {self.where(group)} AND v % 2 = 0"
        self.send(group, sql, lambda was: {key: row for key, row in was.items() if row[1] % 2})

    def merge(self, group: Group) -> None:
        keys = self.chance.sample(range(group.first, group.first + ROWS_OF_A_GROUP), self.chance.randint(1, 5))
        rows = {key: self.fact() for key in keys}
        sql = (
            f"MERGE INTO w.facts AS t USING (VALUES {values(rows)}) AS n(id, k, v, day) ON t.id = n.id"
            " WHEN MATCHED AND n.v < 200 THEN DELETE WHEN MATCHED THEN UPDATE SET v = t.v + n.v, k = n.k"
            " WHEN NOT MATCHED AND n.v < 100 THEN INSERT (id, k, v, day) VALUES (n.id, n.k, -n.v, n.day)"
            " WHEN NOT MATCHED THEN INSERT *"
        )

        def change(was: dict) -> dict:
            for key, (k, v, day) in rows.items():
                if key not in was:
                    was[key] = (k, -v if v < 100 else v, day)
                elif v < 200:
                    del was[key]
                else:
                    was[key] = (k, was[key][1] + v, was[key][2])
            return was

        self.send(group, sql, change)


class Keeper(Client):
    """The one who changes `dims`, and puts files together."""

    def __init__(self, number: int, storm: "Storm") -> None:
        super().__init__(number, storm)
        self.pause = 0.8

    def begin(self) -> None:
        for key in range(scene.KEYS):
            group = Group("dims", key)
            self.groups.append(group)
            self.merge(group)

    def step(self) -> None:
        known = [group for group in self.groups if group.is_known]
        if self.chance.random() < 0.55 and known:
            return self.merge(self.chance.choice(known))
        table = self.chance.choice([*scene.SOURCES, "sums", "taken", "newest"])
        what = self.chance.choice((f"OPTIMIZE w.{table}", f"OPTIMIZE w.{table} ASYNC", f"VACUUM w.{table} RETAIN 100 HOURS ASYNC"))
        if table == "events" and self.chance.random() < 0.3:
            what = "OPTIMIZE w.events ZORDER BY (k, v) ASYNC"
        self.session.run(what)

    def merge(self, group: Group) -> None:
        key, weight = group.first, self.chance.randrange(100)
        sql = (
            f"MERGE INTO w.dims AS t USING (VALUES ({key}, 'name {weight}', {weight})) AS n(k, name, weight) ON t.k = n.k"
            " WHEN MATCHED AND n.weight < 15 THEN DELETE WHEN MATCHED THEN UPDATE SET *"
            " WHEN NOT MATCHED THEN INSERT *"
        )

        def change(was: dict) -> dict:
            return {} if was and weight < 15 else {key: (f"name {weight}", weight)}

        self.send(group, sql, change)


class Stranger(Client):
    """Another engine that appends to the same tables: the Python package deltalake."""

    def __init__(self, number: int, storm: "Storm") -> None:
        super().__init__(number, storm)
        self.pause = 0.7

    def step(self) -> None:
        table = self.chance.choice(("facts", "events2", "events2"))
        group = self.new_group(table)
        rows = {}
        for n in range(self.chance.randint(1, 3)):
            v = self.chance.randrange(-100, 1_000) if table == "events2" else self.chance.randrange(1_000)
            last = "strange" if table == "events2" else self.chance.randrange(scene.DAYS)
            rows[group.first + n] = (self.chance.randrange(scene.KEYS), v, last)
        schema = SCHEMAS[table]
        columns = zip(*((key, *row) for key, row in rows.items()), strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        told, storm = Told.DONE, self.storm
        try:
            data = pa.Table.from_arrays(arrays, schema=schema)
            deltalake.write_deltalake(storm.locations[table], data, mode="append", storage_options=storm.lake.options)
        except Exception as error:  # noqa: BLE001
            told = Told.UNKNOWN
            storm.books.codes[f"deltalake: {str(error)[:60]}"] += 1
        storm.books.count(f"strange appends {told.value}")
        group.note(told, f"deltalake appends to {table}", lambda was: was | rows)


class Asker(Client):
    """Asks for refreshes in every way, cancels some, and looks whether what is there is right."""

    def __init__(self, number: int, storm: "Storm") -> None:
        super().__init__(number, storm)
        self.pause = 0.4
        self.keys: dict[str, tuple[str, Told]] = {}

    def step(self) -> None:
        steps = (
            (self.refresh, 8), (self.with_a_key, 4), (self.graph, 4), (self.part, 2), (self.backfill, 1), (self.cancel, 4),
            (self.retry, 1), (self.verify, 3), (self.look, 4),
        )  # fmt: skip
        self.chance.choices([step for step, _ in steps], [weight for _, weight in steps])[0]()

    def one(self) -> scene.Transform:
        return self.chance.choice(scene.TRANSFORMS)

    def refresh(self) -> None:
        transform = self.one()
        full = " FULL" if transform.name != "taken" and self.chance.random() < 0.15 else ""
        how = self.chance.choice(("ASYNC", "ASYNC", "SYNC TIMEOUT 5 SECONDS"))
        options = self.chance.choice(("", f" OPTIONS (priority = {self.chance.randint(-5, 5)})"))
        self.session.run(f"REFRESH {transform.kind} w.{transform.name}{full} {how}{options}")

    def with_a_key(self) -> None:
        transform, key = self.one(), f"key {self.number} {self.chance.getrandbits(60):x}"
        sql = f"REFRESH {transform.kind} w.{transform.name} ASYNC OPTIONS (idempotency_key = '{key}')"
        answers = [self.session.run(sql)]
        # As a client does that does not know whether its request has arrived, or is sent twice by mistake.
        while answers[-1].told is Told.UNKNOWN and not self.storm.over.is_set():
            answers.append(self.session.run(sql))
        if self.chance.random() < 0.5:
            answers.append(self.session.run(sql))
        ids = {row[0] for answer in answers for row in answer.rows}
        if len(ids) > 1:
            self.storm.books.blame(f"one key, several jobs: {sql}: {ids}")
        self.keys[key] = (transform.name, answers[-1].told)

    def graph(self) -> None:
        sql = self.chance.choice((
            "REFRESH MATERIALIZED VIEW w.top ASYNC WITH UPSTREAM",
            "REFRESH MATERIALIZED VIEW w.left_branch, w.right_branch ASYNC WITH DOWNSTREAM",
            "REFRESH MATERIALIZED VIEW w.top, w.sums, w.days ASYNC",
        ))  # fmt: skip
        self.session.run(sql)

    def part(self) -> None:
        day = self.chance.randrange(scene.DAYS)
        self.session.run(f"REFRESH MATERIALIZED VIEW w.days WHERE day = {day} ASYNC")

    def backfill(self) -> None:
        first = self.chance.randrange(scene.DAYS - 1)
        self.session.run(f"BACKFILL w.days FROM {first} TO {scene.DAYS - 1} BY {self.chance.randint(1, 3)} ASYNC")

    def cancel(self) -> None:
        # What triggers ask for is left alone: they ask once for each version.
        open_jobs = "SELECT job_id FROM system.jobs WHERE finished_at IS NULL AND requested_by <> 'trigger' LIMIT 20"
        if jobs := self.session.run(open_jobs).rows:
            self.session.run(f"CANCEL JOB '{self.chance.choice(jobs)[0]}' REASON 'a storm'")

    def retry(self) -> None:
        ended = "SELECT job_id FROM system.jobs WHERE state IN ('FAILED', 'CANCELLED', 'UPSTREAM_FAILED') LIMIT 20"
        if jobs := self.session.run(ended).rows:
            self.session.run(f"RETRY JOB '{self.chance.choice(jobs)[0]}'")

    def verify(self) -> None:
        transform = self.one()
        if transform.is_view:
            answer = self.session.run(f"VERIFY w.{transform.name}")
            if answer.rows and answer.rows[0][2] != "EQUAL":
                self.storm.books.blame(f"VERIFY w.{transform.name}: {answer.rows[0]}")
            self.storm.books.count("verifications in the storm" if answer.rows else "verifications refused")

    def look(self) -> None:
        answer = self.session.run("SELECT count(*), count(DISTINCT id) FROM w.taken")
        if answer.rows and answer.rows[0][0] != answer.rows[0][1]:
            self.storm.books.blame(f"rows of w.taken are there twice: {answer.rows[0]}")
        self.session.run("SELECT count(*) FROM system.runs AS r JOIN system.run_inputs AS i ON i.run_id = r.run_id")


class Storm:
    """All clients, and what they share."""

    def __init__(self, servers: list[Process], lake, seed: int) -> None:
        self.servers, self.lake, self.seed = servers, lake, seed
        self.books = Books()
        self.over = threading.Event()
        self.ids = iter(range(1_000, 1_000_000_000, ROWS_OF_A_GROUP))
        self.locations: dict[str, str] = {}
        self.session = Session(servers, self.books, random.Random(seed), self.over)
        kinds = [Writer, Writer, Writer, Stranger, Asker, Asker, Keeper]
        self.clients = [kind(number, self) for number, kind in enumerate(kinds)]

    def next_ids(self) -> int:
        with self.books.lock:
            return next(self.ids)

    def prepare(self) -> None:
        for sql in scene.statements():
            answer = self.session.run(sql)
            if answer.told is not Told.DONE:
                raise RuntimeError(f"{sql}: {answer.error}")
        self.clients[-1].begin()
        listed = "SELECT name, location FROM system.tables UNION ALL SELECT name, location FROM system.transforms"
        self.locations = {name.removeprefix("w."): place for name, place in self.session.must(listed)}

    def begin(self) -> None:
        for client in self.clients:
            client.start()

    def end(self) -> None:
        self.over.set()
        for client in self.clients:
            client.join(120)
            if client.is_alive():
                self.books.blame(f"{client.name} hangs")

    def groups(self) -> list[Group]:
        return [group for client in self.clients for group in client.groups]
