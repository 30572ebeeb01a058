"""A wire to an S3 server that fails: requests are refused, replies get lost, are cut off or come late.

It stands between a server and its store and passes on what it gets as it is, the header `Host` too,
because the client has signed it.
"""

import collections
import enum
import http.client
import http.server
import os
import random
import re
import socket
import struct
import threading
import time
import urllib.parse

COMMIT = re.compile(r"/_delta_log/\d{20}\.json$")
SLOW_DOWN = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
# Close, and forget what was not sent: the other side gets a reset.
LINGER_NOT = struct.pack("ii", 1, 0)
OF_ONE_HOP = ("connection", "keep-alive", "content-length", "transfer-encoding")
DELAY_SECONDS_MAX = 0.2


class Kind(enum.Enum):
    """Of a request."""

    COMMIT = "commit"
    WRITE = "write"
    READ = "read"
    OTHER = "other"


class Fault(enum.Enum):
    THROTTLED = "503 SlowDown, not forwarded"
    RESET = "connection reset, not forwarded"
    SWALLOWED = "not forwarded, a reply that is no HTTP"
    LOST = "forwarded, no reply"
    GARBLED = "forwarded, a reply that is no HTTP"
    CUT = "half a reply"
    LATE = "late reply"


# Faults of so many requests of a kind. They are dealt like cards, not thrown like dice: each comes
# within one deck, whatever the seed. After most of them a client asks again by itself; a reply that
# is no HTTP ends the statement that needs it.
DECKS = {
    Kind.COMMIT: (18, [Fault.LOST, Fault.LOST, Fault.GARBLED, Fault.RESET, Fault.THROTTLED, Fault.LATE]),
    Kind.WRITE: (25, [Fault.LOST, Fault.GARBLED, Fault.RESET, Fault.THROTTLED, Fault.LATE]),
    Kind.READ: (100, [Fault.CUT, Fault.CUT, Fault.GARBLED, Fault.RESET, Fault.THROTTLED, Fault.LATE]),
    Kind.OTHER: (40, [Fault.RESET, Fault.THROTTLED, Fault.LATE]),
}


class FaultyWire:
    """Listens on a port of its own. Nothing fails before `begin`, nor after `calm_down`."""

    def __init__(self, endpoint: str, seed: int) -> None:
        self.behind = urllib.parse.urlsplit(endpoint).netloc
        self.chance = random.Random(seed)
        self.seen: collections.Counter[tuple[Kind, Fault]] = collections.Counter()
        self.requests: collections.Counter[Kind] = collections.Counter()
        # What went wrong without being asked for.
        self.unasked: list[str] = []
        self.lock = threading.Lock()
        self.decks: dict[Kind, list[Fault | None]] = {kind: [] for kind in Kind}
        # By method and path; these come before what is drawn.
        self.always: dict[str, Fault] = {}
        self.fails = False
        handler = type("Handler", (Handler,), {"wire": self})
        self.server = Listener(("127.0.0.1", 0), handler)
        self.url = "http://127.0.0.1:{}".format(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def begin(self) -> None:
        self.fails = True

    def calm_down(self) -> None:
        self.fails = False
        self.always = {}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def next_fault(self, kind: Kind, request: str) -> Fault | None:
        for pattern, fault in self.always.items():
            if re.search(pattern, request):
                return fault
        with self.lock:
            if not self.fails:
                return None
            self.requests[kind] += 1
            deck = self.decks[kind]
            if not deck:
                size, faults = DECKS[kind]
                deck += faults + [None] * (size - len(faults))
                self.chance.shuffle(deck)
            return deck.pop()

    def happened(self, kind: Kind, fault: Fault) -> None:
        with self.lock:
            self.seen[kind, fault] += 1

    def delay(self) -> float:
        with self.lock:
            return self.chance.uniform(0, DELAY_SECONDS_MAX)


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    wire: FaultyWire
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            # Clients drop what they no longer want to read.
            pass
        except Exception as error:  # noqa: BLE001
            self.wire.unasked.append(f"{self.command} {self.path}: {error!r}")

    def one(self) -> None:
        kind = kind_of(self.command, self.path)
        fault = self.wire.next_fault(kind, f"{self.command} {self.path}")
        if fault is Fault.RESET:
            self.wire.happened(kind, fault)
            return self.reset()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault is Fault.THROTTLED:
            self.wire.happened(kind, fault)
            return self.answer(503, {"Content-Type": "application/xml", "Retry-After": "0"}, SLOW_DOWN)
        if fault is Fault.SWALLOWED:
            return self.nonsense(kind, fault)
        status, headers, reply = self.forward(body)
        if fault is Fault.GARBLED:
            return self.nonsense(kind, fault)
        if fault is Fault.LOST:
            self.wire.happened(kind, fault)
            self.close_connection = True
            return None
        if fault is Fault.LATE:
            self.wire.happened(kind, fault)
            time.sleep(self.wire.delay())
        if fault is Fault.CUT and len(reply) > 1:
            self.wire.happened(kind, fault)
            self.close_connection = True
            return self.answer(status, headers, reply, sent=len(reply) // 2)
        return self.answer(status, headers, reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = one

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        # Not kept open: one that the store has closed meanwhile would be a fault that nobody asked for.
        connection = http.client.HTTPConnection(self.wire.behind, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "keep-alive"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        except OSError as error:
            raise RuntimeError(f"the store itself fails: {error!r}") from error
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            # The length of what a HEAD asks for is not that of its reply.
            if name.lower() not in OF_ONE_HOP or (self.command == "HEAD" and name.lower() == "content-length"):
                self.send_header(name, value)
        has_body = self.command != "HEAD" and status not in (204, 304)
        if has_body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body[:sent])

    def nonsense(self, kind: Kind, fault: Fault) -> None:
        self.wire.happened(kind, fault)
        self.close_connection = True
        self.wfile.write(b"nonsense\r\n\r\n")

    def reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        os.close(self.connection.detach())


def kind_of(method: str, path: str) -> Kind:
    if method == "PUT" and COMMIT.search(urllib.parse.urlsplit(path).path):
        return Kind.COMMIT
    if method in ("PUT", "POST"):
        return Kind.WRITE
    return Kind.READ if method == "GET" else Kind.OTHER
