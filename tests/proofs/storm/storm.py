#!/usr/bin/env python3
"""A server under garbage and under connections that misbehave: it answers properly, lives on, and gives back what it took."""

import argparse
import collections
import contextlib
import pathlib
import random
import socket
import sys
import tempfile
import threading
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients"))

import garbage
from server import Server

SERVICE = "/arrow.flight.protocol.FlightService/"
STREAMED_REQUESTS = {"Handshake", "DoPut", "DoExchange"}
STREAMED_ANSWERS = {"Handshake", "DoGet", "DoPut", "DoExchange", "DoAction", "ListActions", "ListFlights"}
# What a client's mistake must not be answered with.
NEVER = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
# Statements that would keep a machine busy for longer than a storm has time, or stop what it needs.
HEAVY = (b"generate_series", b"range(", b"CROSS JOIN", b"SYNC", b"WAIT FOR", b"{data}", b"USER", b"ROLE", b"TOKEN")
# Nothing that a storm says has an effect on the lake that the next seed could see.
READS = (b"SELECT", b"WITH", b"VALUES", b"SHOW", b"DESCRIBE", b"EXPLAIN", b"TABLE")


def texts() -> list[bytes]:
    return [text for text in garbage.statements() if not any(word in text for word in HEAVY)]


def resident(server: Server) -> int:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def answers(server: Server) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT sum(n) FROM (VALUES (1), (2)) AS t(n)")
        assert cursor.fetchone()[0] == 3


class Flight:
    """Requests with mutated messages; which statuses came."""

    def __init__(self, server: Server, seed: int, sql_only: bool) -> None:
        self.chance = random.Random(seed)
        self.channel = grpc.insecure_channel(server.url.removeprefix("grpc://"))
        self.seen: collections.Counter[str] = collections.Counter()
        self.bad: list[str] = []
        known = texts()
        self.texts = known
        self.requests = garbage.flight_requests(self.chance.sample(known, 40))
        self.requests += self.sealed()
        self.sql_only = sql_only

    def sealed(self) -> list[tuple[str, bytes]]:
        """Requests with tickets and handles that were good."""

        def action(name: bytes, body: bytes) -> bytes:
            call = self.channel.unary_stream(SERVICE + "DoAction", lambda it: it, lambda it: it)
            return next(iter(call(garbage.field(1, name) + garbage.field(2, body), timeout=20)))

        query = garbage.field(1, b"SELECT 1 AS a")
        command = garbage.packed("CommandStatementQuery", query)
        ask = self.channel.unary_unary(SERVICE + "GetFlightInfo", lambda it: it, lambda it: it)
        info = ask(garbage.field(1, 2) + garbage.field(2, command), timeout=20)
        prepared = action(b"CreatePreparedStatement", garbage.packed("ActionCreatePreparedStatementRequest", query))
        begun = action(b"BeginTransaction", garbage.packed("ActionBeginTransactionRequest"))
        return garbage.sealed_requests(info, prepared, begun)

    def one(self) -> None:
        if self.sql_only:
            text = garbage.mutated(self.chance.choice(self.texts), self.chance, self.texts)
            # Preparing has no effect, whatever the text says.
            request = garbage.packed("ActionCreatePreparedStatementRequest", garbage.field(1, text))
            method = "DoAction"
            message = garbage.field(1, b"CreatePreparedStatement") + garbage.field(2, request)
        else:
            method, message = self.chance.choice(self.requests)
            text = message = garbage.mutated(message, self.chance, [other for _, other in self.requests])
        kind = ("stream" if method in STREAMED_REQUESTS else "unary") + "_" + ("stream" if method in STREAMED_ANSWERS else "unary")
        call = getattr(self.channel, kind)(SERVICE + method, lambda it: it, lambda it: it)
        try:
            answer = call(iter([message]) if method in STREAMED_REQUESTS else message, timeout=20)
            if method in STREAMED_ANSWERS:
                for _ in answer:
                    pass
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
            if status in NEVER:
                self.bad.append(f"{method} {text[:300]!r}: {status}: {error.details()[:300]}")
        self.seen[status] += 1

    def close(self) -> None:
        self.channel.close()


class Postgres:
    """Conversations with mutated messages; how they ended."""

    def __init__(self, server: Server, seed: int) -> None:
        self.chance = random.Random(seed)
        self.address = (server.postgres["host"], server.postgres["port"])
        self.seen: collections.Counter[str] = collections.Counter()
        self.bad: list[str] = []
        reads = [text for text in texts() if text.lstrip().upper().startswith(READS)]
        self.conversations = garbage.postgres_conversations(reads)

    def one(self) -> None:
        said = garbage.mutated(self.chance.choice(self.conversations), self.chance, self.conversations)
        startup = garbage.postgres_startup()
        if self.chance.randrange(20) == 0:
            startup = garbage.mutated(startup, self.chance, self.conversations)
        try:
            with socket.create_connection(self.address, 20) as connection:
                connection.settimeout(20)
                connection.sendall(startup + said)
                connection.shutdown(socket.SHUT_WR)
                answer = bytearray()
                while piece := connection.recv(65536):
                    answer += piece
        except TimeoutError:
            self.seen["stalled"] += 1
            self.bad.append(f"no end within 20 s: {said[:300]!r}")
            return
        except OSError:
            self.seen["closed"] += 1
            return
        if b"CXX000\0" in answer:
            self.bad.append(f"{said[:300]!r}: {bytes(answer[-300:])!r}")
        self.seen["error" if b"SERROR\0" in answer or b"SFATAL\0" in answer else "answered"] += 1

    def close(self) -> None:
        pass


def storm(server: Server, name: str, sender, seconds: float) -> int:
    """One kind of garbage for so long; how many answers were none."""
    before, began, last = resident(server), time.monotonic(), time.monotonic()
    count = 0
    with contextlib.closing(sender):
        while time.monotonic() < began + seconds:
            sender.one()
            count += 1
            if time.monotonic() > last + 60:
                last = time.monotonic()
                print(f"  {name}: {count} sent, {resident(server)} MB", flush=True)
    assert server.process.poll() is None, f"{name}: the server died:\n" + "".join(server.log[-40:])
    answers(server)
    print(f"{name}: {count} sent in {time.monotonic() - began:.0f} s, {dict(sender.seen)}; {before} MB before, {resident(server)} MB after", flush=True)
    for bad in sender.bad[:20]:
        print(f"  not a proper answer: {bad}")
    return len(sender.bad)


def soak(server: Server, seed: int, seconds: float, connections: int) -> None:
    """Connections that come, ask, idle, stall in the middle of an answer or of a request, and die."""
    end = time.monotonic() + seconds
    done: collections.Counter[str] = collections.Counter()
    lock = threading.Lock()
    host, port = server.url.removeprefix("grpc://").rsplit(":", 1)
    postgres = (server.postgres["host"], server.postgres["port"])

    def client(number: int) -> None:
        chance = random.Random(seed * 100_000 + number)
        while time.monotonic() < end:
            what = chance.choice(("asks", "stalls", "dies", "idles", "postgres", "postgres dies", "half a request"))
            pause = chance.random() * 2
            with contextlib.suppress(Exception):
                if what == "asks":
                    answers(server)
                elif what == "stalls":
                    with server.connect() as connection, connection.cursor() as cursor:
                        cursor.execute("SELECT * FROM generate_series(1, 3000000)")
                        reader = cursor.fetch_record_batch()
                        reader.read_next_batch()
                        time.sleep(pause)
                elif what in ("dies", "idles"):
                    with socket.create_connection((host, int(port)), 10) as connection:
                        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
                        time.sleep(pause if what == "idles" else 0)
                elif what == "half a request":
                    with socket.create_connection(postgres, 10) as connection:
                        connection.sendall(garbage.postgres_startup()[: chance.randrange(20)])
                        time.sleep(pause)
                else:
                    with socket.create_connection(postgres, 10) as connection:
                        text = b"SELECT * FROM generate_series(1, 300000)\0"
                        connection.sendall(garbage.postgres_startup() + garbage.postgres_message(b"Q", text))
                        connection.recv(4096)
                        if what == "postgres":
                            connection.settimeout(20)
                            connection.shutdown(socket.SHUT_WR)
                            while connection.recv(65536):
                                pass
            with lock:
                done[what] += 1
            time.sleep(chance.random() / 4)

    answers(server)
    before = resident(server)
    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(connections)]
    for thread in threads:
        thread.start()
    most = before
    while time.monotonic() < end:
        time.sleep(1)
        most = max(most, resident(server))
    for thread in threads:
        thread.join(60)
    assert server.process.poll() is None, "the server died:\n" + "".join(server.log[-40:])
    answers(server)
    for _ in range(30):
        time.sleep(1)
        after = resident(server)
        if after < before * 1.5:
            break
    print(f"soak: {connections} clients, {seconds:.0f} s, {dict(done)}; {before} MB before, {most} MB at most, {after} MB after", flush=True)


def main() -> None:
    kinds = ("tickets", "sql", "postgres", "soak")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"which storms, of {', '.join(kinds)}; all without")
    parser.add_argument("--minutes", type=float, default=10, help="how long each takes (10)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed, the same garbage")
    parser.add_argument("--connections", type=int, default=200, help="clients at once of the soak (200)")
    asked = parser.parse_args()
    if unknown := set(asked.kinds) - set(kinds):
        parser.error(f"there is no storm named {', '.join(sorted(unknown))}")
    print(f"seed {asked.seed}", flush=True)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder)).start("--pg-addr", "127.0.0.1:0")
        try:
            answers(server)
            for kind in asked.kinds or kinds:
                seconds = asked.minutes * 60
                if kind == "tickets":
                    bad += storm(server, kind, Flight(server, asked.seed, sql_only=False), seconds)
                elif kind == "sql":
                    bad += storm(server, kind, Flight(server, asked.seed, sql_only=True), seconds)
                elif kind == "postgres":
                    bad += storm(server, kind, Postgres(server, asked.seed), seconds)
                else:
                    soak(server, asked.seed, seconds, asked.connections)
            panics = [line for line in server.log if "panicked" in line]
            for line in panics[:20]:
                print(f"  panic: {line.strip()}")
            bad += len(panics)
        finally:
            server.stop()
    sys.exit(f"{bad} answers were not proper" if bad else 0)


if __name__ == "__main__":
    main()
