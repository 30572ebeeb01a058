"""Two servers over one lake on a real S3 server, behind a wire that fails."""

import concurrent.futures
import contextlib
import uuid

import adbc_driver_manager
import pytest
import s3
from faulty import DECKS, Fault, FaultyWire, Kind
from ledger import CREATE, Ledger, Session, Told, is_in_order, rows, seeds, told_by
from server import Server

SESSIONS = 6
STATEMENTS = 14


@pytest.fixture
def seed():
    return 1


@pytest.fixture
def wire(seed):
    wire = FaultyWire(s3.endpoint(), seed)
    yield wire
    wire.close()


@pytest.fixture
def lake():
    return f"s3://{s3.bucket()}/{uuid.uuid4().hex}"


@pytest.fixture
def servers(tmp_path, wire, lake):
    """Each with a catalog of its own."""
    with contextlib.ExitStack() as running:
        servers = []
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir()
            server = Server(folder)
            server.environment |= s3.variables(wire.url)
            running.callback(server.stop)
            servers.append(server.start("--lake", lake))
        yield servers
        wire.calm_down()


def panics(server: Server) -> list[str]:
    # The Delta library itself catches the one of an upload that it cannot take back any more.
    return [line for line in server.log if "panicked" in line and "buffered.rs" not in line]


@pytest.mark.parametrize("seed", seeds("WHIMBREL_FAULT_SEEDS"))
def test_each_statement_is_there_once_or_not_at_all_as_its_client_was_told(servers, wire, lake, seed):
    print(f"WHIMBREL_FAULT_SEEDS={seed}")
    location = f"{lake}/t"
    ledger = Ledger()
    ledger.create(servers[0], location)
    rows(servers[1], f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")

    wire.begin()
    sessions = [Session(number, servers[number % 2], ledger, seed) for number in range(1, SESSIONS + 1)]
    with concurrent.futures.ThreadPoolExecutor(SESSIONS) as pool:
        for running in [pool.submit(session.run, STATEMENTS) for session in sessions]:
            running.result()
    wire.calm_down()

    print(dict(sorted(ledger.counts.items())))
    print({kind.value: count for kind, count in wire.requests.items()})
    print({f"{kind.value}: {fault.value}": count for (kind, fault), count in wire.seen.items()})
    assert wire.unasked == []
    dealt = {(kind, fault) for kind in Kind for fault in DECKS[kind][1]}
    assert dealt == wire.seen.keys(), "a fault did not happen, so nothing is proved of it"
    for what in ("INSERT", "UPDATE", "MERGE", "DELETE"):
        assert ledger.counts[f"{what} done"] > 0, what

    left = rows(servers[0], "SELECT id, n, trail FROM t ORDER BY id")
    assert ledger.discrepancies(left) == []
    assert rows(servers[1], "SELECT id, n, trail FROM t ORDER BY id") == left
    # The other engine goes to the store itself.
    is_in_order(servers[0], location, s3.variables(s3.endpoint()), left)
    assert panics(servers[0]) + panics(servers[1]) == []


@pytest.mark.parametrize("put", [Fault.GARBLED, Fault.SWALLOWED], ids=["arrived", "did_not_arrive"])
def test_a_commit_that_nobody_can_find_out_about_is_told_as_not_known(servers, wire, lake, put):
    server, location = servers[0], f"{lake}/t"
    rows(server, f"{CREATE} LOCATION '{location}'")
    entry = r"/t/_delta_log/0{19}1\.json"
    # It cannot be read either what is there, so "done" and "refused" would both be guesses.
    wire.always = {f"PUT .*{entry}": put, f"GET .*{entry}": Fault.GARBLED}
    with pytest.raises(adbc_driver_manager.Error) as raised:
        rows(server, "INSERT INTO t VALUES (1, 1, '1')")
    wire.calm_down()
    assert told_by(raised.value) is Told.UNKNOWN, raised.value
    arrived = [(1, 1, "1")] if put is Fault.GARBLED else []
    assert rows(server, "SELECT id, n, trail FROM t") == arrived
    rows(server, "INSERT INTO t VALUES (2, 1, '2')")
    left = [*arrived, (2, 1, "2")]
    assert rows(server, "SELECT id, n, trail FROM t ORDER BY id") == left
    is_in_order(server, location, s3.variables(s3.endpoint()), left)


@pytest.mark.parametrize("sql", ["SELECT sum(n) FROM t", "UPDATE t SET n = n + 1"])
def test_a_store_that_does_not_answer_is_no_data_that_is_lost(servers, wire, lake, sql):
    server = servers[0]
    rows(server, f"{CREATE} LOCATION '{lake}/t'")
    rows(server, "INSERT INTO t VALUES (1, 1, '1')")
    wire.always = {r"GET .*\.parquet": Fault.RESET}
    with pytest.raises(adbc_driver_manager.Error) as raised:
        rows(server, sql)
    assert told_by(raised.value) is Told.REFUSED
