"""Whimbrel and the Python package deltalake change one table at the same time."""

import concurrent.futures
import itertools
import random
import threading
import uuid

import adbc_driver_manager
import pyarrow as pa
import pytest
import s3
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from ledger import Ledger, Session, Statement, Told, is_in_order, rows, seeds
from server import Server

SESSIONS = 4
STATEMENTS = 14
SCHEMA = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("trail", pa.string())])


class Turns:
    """So many commits of the other engine for each answer of Whimbrel: one that never rests lets no change through."""

    AT_ONCE = 4
    FOR_EACH_ANSWER = 2

    def __init__(self) -> None:
        self.left = threading.Semaphore(self.AT_ONCE)
        self.over = False

    def answered(self) -> None:
        self.left.release(self.FOR_EACH_ANSWER)

    def end(self) -> None:
        self.over = True
        self.left.release(self.AT_ONCE)

    def take(self) -> bool:
        self.left.acquire()
        return not self.over


class Stranger:
    """Another engine that appends to the table, and perhaps deletes some of its rows again."""

    def __init__(self, number: int, location: str, options: dict[str, str], ledger: Ledger, seed: int, *, deletes: bool) -> None:
        self.location, self.options, self.ledger, self.deletes = location, options, ledger, deletes
        self.chance = random.Random(seed * 1_000 + number)
        self.numbers = itertools.count(number * 1_000 + 1)
        self.known: list[int] = []

    def run(self, turns: Turns) -> None:
        while turns.take():
            if self.deletes and len(self.known) > 3:
                self.delete()
            else:
                self.append()

    def append(self) -> None:
        number = next(self.numbers)
        new = tuple(-id for id in Session.new(number, self.chance.randint(1, 3)))
        data = pa.table({"id": new, "n": [1] * len(new), "trail": [str(number)] * len(new)}, SCHEMA)
        self.commit(
            "append",
            Statement(number, inserts=new),
            lambda: write_deltalake(self.location, data, mode="append", storage_options=self.options),
        )
        self.known += new

    def delete(self) -> None:
        number = next(self.numbers)
        ids = tuple(self.chance.sample(self.known, 2))
        self.commit("delete", Statement(number, deletes=ids), lambda: self.delete_once(ids))
        self.known = [id for id in self.known if id not in ids]

    def delete_once(self, ids: tuple[int, ...]) -> None:
        deleted = DeltaTable(self.location, storage_options=self.options).delete(f"id IN {ids}")
        assert deleted["num_deleted_rows"] == len(ids), deleted

    def commit(self, what: str, statement: Statement, change) -> None:
        """Until it is done: what has lost against Whimbrel is tried again."""
        self.ledger.begin(statement)
        while True:
            try:
                change()
            except CommitFailedError:
                self.ledger.count(f"their {what} lost")
                continue
            return self.ledger.end(statement, f"their {what}", Told.DONE)


class Neighbour(Session):
    """A client of Whimbrel beside the other engine."""

    def __init__(self, number: int, server: Server, ledger: Ledger, seed: int, turns: Turns) -> None:
        super().__init__(number, server, ledger, seed, sweeps=True)
        self.turns = turns
        self.answers = 0

    def step(self) -> None:
        super().step()
        self.answers += 1
        self.turns.answered()


class Keeper(Neighbour):
    """Puts together now and then what the others have written."""

    def step(self) -> None:
        super().step()
        if self.answers % 3 == 0:
            self.optimize()

    def optimize(self) -> None:
        try:
            self.cursor.execute("OPTIMIZE t")
            ((removed, *_),) = self.cursor.fetchall()
            self.ledger.count("OPTIMIZE done" if removed else "OPTIMIZE found nothing")
        except adbc_driver_manager.Error as error:
            # A job that has lost several times.
            assert "was changed by somebody else" in str(error), error
            self.ledger.count("OPTIMIZE refused")


@pytest.fixture(params=["folder", "s3"])
def table(request, stopped):
    """A running server, a table of it, and what deltalake has to know to reach it."""
    if request.param == "folder":
        folder = stopped.folder / "shared"
        folder.mkdir()
        stopped.environment["WHIMBREL__LAKE__LOCATIONS"] = str(folder)
        return stopped.start(), str(folder / "t"), {}
    variables = s3.variables(s3.endpoint())
    stopped.environment |= variables
    lake = f"s3://{s3.bucket()}/{uuid.uuid4().hex}"
    return stopped.start("--lake", lake), f"{lake}/t", variables


@pytest.mark.parametrize("seed", seeds("WHIMBREL_FOREIGN_SEEDS"))
def test_what_two_engines_did_at_the_same_time_is_there_once(table, seed):
    print(f"WHIMBREL_FOREIGN_SEEDS={seed}")
    server, location, options = table
    ledger, turns = Ledger(), Turns()
    ledger.create(server, location)

    sessions = [Neighbour(number, server, ledger, seed, turns) for number in range(1, SESSIONS)]
    sessions.append(Keeper(SESSIONS, server, ledger, seed, turns))
    strangers = [
        Stranger(11, location, options, ledger, seed, deletes=False),
        Stranger(12, location, options, ledger, seed, deletes=True),
    ]
    with concurrent.futures.ThreadPoolExecutor(len(sessions) + len(strangers)) as pool:
        foreign = [pool.submit(stranger.run, turns) for stranger in strangers]
        ours = [pool.submit(session.run, STATEMENTS) for session in sessions]
        try:
            for running in ours:
                running.result()
        finally:
            turns.end()
        for running in foreign:
            running.result()

    print(dict(sorted(ledger.counts.items())))
    for what in ("INSERT", "UPDATE", "MERGE", "DELETE", "OPTIMIZE", "their append", "their delete"):
        assert ledger.counts[f"{what} done"] > 0, what
    left = rows(server, "SELECT id, n, trail FROM t ORDER BY id")
    assert ledger.discrepancies(left) == []
    is_in_order(server, location, options, left)
