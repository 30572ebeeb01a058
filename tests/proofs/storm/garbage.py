"""What clients send, and what becomes of it on the way."""

import pathlib
import random
import re
import struct

SQL_FILES = pathlib.Path(__file__).resolve().parents[2] / "slt"
# Pieces that are more telling than bytes out of nowhere.
PIECES = [
    b"\x00", b"\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"'", b'"', b"\\",
    b"--", b"/*", b"*/", b";", b"$1", b"$$", b"?", b"{}", b"%s", b"../", b"\xf0\x9f\xa6\x86", b"\xc3\x28", b"\xed\xa0\x80", b"\xe2\x80\xae",
    b"(" * 200, b"SELECT ", b" UNION ALL ", b"CAST(", b"NULL", b"1e999", b"99999999999999999999999", b"a" * 5_000,
]  # fmt: skip


def mutated(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """The data after some accidents."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        accident = chance.randrange(8)
        if accident == 0 and data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif accident == 1 and data:
            data[chance.randrange(len(data))] = chance.randrange(256)
        elif accident == 2:
            data[at:at] = chance.choice(PIECES)
        elif accident == 3:
            del data[at : at + chance.randrange(1, 9)]
        elif accident == 4:
            del data[at:]
        elif accident == 5:
            data[at:at] = data[chance.randrange(len(data) + 1) :][: chance.randrange(64)]
        elif accident == 6:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            data[at:] = other[begin:]
        else:
            data[at : at + 4] = chance.choice(PIECES)[:4]
    return bytes(data[:1_000_000])


def statements() -> list[bytes]:
    """The statements of the SQL files."""
    found = set()
    for file in sorted(SQL_FILES.glob("*.slt")):
        for block in re.split(r"\n\s*\n", file.read_text()):
            lines = block.strip().splitlines()
            if not lines or not lines[0].startswith(("statement", "query")):
                lines = [line for line in lines if not line.startswith("#")]
            if not lines or not lines[0].startswith(("statement", "query")):
                continue
            text = "\n".join(lines[1:]).split("\n----")[0].strip()
            found.add(text.encode())
    return sorted(found)


# Protobuf by hand: fields of bytes and texts are all that is needed.


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def packed(name: str, *fields: bytes) -> bytes:
    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}"
    return field(1, url.encode()) + field(2, b"".join(fields))


def read(message: bytes) -> dict[int, list[bytes]]:
    """The fields of a message that are bytes, texts or messages."""

    def number(at: int) -> tuple[int, int]:
        n = shift = 0
        while True:
            n |= (message[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 128:
                return n, at

    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(message):
        key, at = number(at)
        length, at = number(at)
        if key & 7 == 2:
            found.setdefault(key >> 3, []).append(message[at : at + length])
            at += length
    return found


def sealed_requests(info: bytes, prepared: bytes, transaction: bytes) -> list[tuple[str, bytes]]:
    """Requests with what a server has sealed: a FlightInfo, and what two actions answered."""
    endpoint = read(info)[3][0]
    ticket = read(endpoint)[1][0]
    statement, begun = (read(read(read(answer)[1][0])[2][0])[1][0] for answer in (prepared, transaction))
    run = packed("CommandPreparedStatementQuery", field(1, statement))
    within = packed("CommandStatementQuery", field(1, b"SELECT 1 AS a"), field(2, begun))
    requests = [("DoGet", ticket), ("DoGet", ticket), ("DoPut", field(1, field(1, 2) + field(2, run)))]
    for method in ("GetFlightInfo", "GetSchema", "PollFlightInfo"):
        requests += [(method, field(1, 2) + field(2, command)) for command in (run, within, read(ticket)[1][0])]
    actions = {
        b"RenewFlightEndpoint": field(1, endpoint),
        b"CancelFlightInfo": field(1, info),
        b"ClosePreparedStatement": packed("ActionClosePreparedStatementRequest", field(1, statement)),
        b"EndTransaction": packed("ActionEndTransactionRequest", field(1, begun), field(2, 1)),
    }
    return requests + [("DoAction", field(1, name) + field(2, body)) for name, body in actions.items()]


def flight_requests(texts: list[bytes]) -> list[tuple[str, bytes]]:
    """Methods of Flight with messages that are right, or were."""
    query, bytes_16 = b"SELECT 1 AS a", bytes(range(16))
    commands = [
        packed("CommandStatementQuery", field(1, query)),
        packed("CommandStatementQuery", field(1, query), field(2, b"tx")),
        packed("CommandPreparedStatementQuery", field(1, bytes_16)),
        packed("CommandGetCatalogs"),
        packed("CommandGetDbSchemas", field(1, b"whimbrel"), field(2, b"%")),
        packed("CommandGetTables", field(1, b"whimbrel"), field(2, b"%"), field(3, b"a%_"), field(4, b"TABLE"), field(5, 1)),
        packed("CommandGetTableTypes"),
        packed("CommandGetSqlInfo", field(1, 0), field(1, 508)),
        packed("CommandGetXdbcTypeInfo", field(1, 4)),
        packed("CommandGetPrimaryKeys", field(1, b"whimbrel"), field(2, b"main"), field(3, b"t")),
        packed("CommandGetCrossReference", field(3, b"t"), field(6, b"u")),
        packed("TicketStatementQuery", field(1, bytes_16)),
    ]
    commands += [packed("CommandStatementQuery", field(1, text)) for text in texts]
    requests = [("DoGet", field(1, command)) for command in commands]
    for method in ("GetFlightInfo", "GetSchema", "PollFlightInfo"):
        requests += [(method, field(1, 2) + field(2, command)) for command in commands]
    actions = {
        b"CreatePreparedStatement": packed("ActionCreatePreparedStatementRequest", field(1, query)),
        b"ClosePreparedStatement": packed("ActionClosePreparedStatementRequest", field(1, bytes_16)),
        b"BeginTransaction": packed("ActionBeginTransactionRequest"),
        b"EndTransaction": packed("ActionEndTransactionRequest", field(1, bytes_16), field(2, 1)),
        b"BeginSavepoint": packed("ActionBeginSavepointRequest", field(1, bytes_16), field(2, b"s")),
        b"CancelQuery": packed("ActionCancelQueryRequest", field(1, b"info")),
        b"CancelFlightInfo": field(1, field(1, b"") + field(2, field(1, 2) + field(2, commands[0]))),
        b"RenewFlightEndpoint": field(1, field(1, field(1, commands[-1]))),
        b"SetSessionOptions": field(1, field(1, b"schema") + field(2, field(1, b"main"))),
        b"GetSessionOptions": b"",
        b"CloseSession": b"",
    }
    requests += [("DoAction", field(1, name) + field(2, body)) for name, body in actions.items()]
    for text in texts:
        requests.append(("DoAction", field(1, b"CreatePreparedStatement") + field(2, packed("ActionCreatePreparedStatementRequest", field(1, text)))))
    descriptor = field(1, 2) + field(2, packed("CommandStatementIngest", field(2, b"t"), field(3, b"main")))
    requests += [("DoPut", field(1, descriptor) + field(2, b"\x10\x00\x00\x00") + field(1000, b"rows"))]
    requests += [("Handshake", field(1, 1) + field(2, b"user:password"))]
    requests += [("ListActions", b""), ("ListFlights", b""), ("DoExchange", field(1, descriptor))]
    return requests


def postgres_message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def postgres_startup() -> bytes:
    body = struct.pack("!I", 196608) + b"user\0storm\0database\0whimbrel\0\0"
    return struct.pack("!I", len(body) + 4) + body


def postgres_conversations(texts: list[bytes]) -> list[bytes]:
    """What follows the startup in conversations that are right."""
    sync = postgres_message(b"S", b"")
    query = [postgres_message(b"Q", text + b"\0") for text in texts]
    extended = []
    for text in texts:
        parse = postgres_message(b"P", b"s\0" + text + b"\0" + struct.pack("!H", 0))
        describe = postgres_message(b"D", b"Ss\0")
        extended.append(parse + describe + sync)
    parse = postgres_message(b"P", b"\0SELECT $1::int + 1 AS a\0" + struct.pack("!HI", 1, 23))
    bind = postgres_message(b"B", b"\0\0" + struct.pack("!HHH", 1, 1, 1) + struct.pack("!Ii", 4, 41) + struct.pack("!HH", 1, 1))
    execute = postgres_message(b"E", b"\0" + struct.pack("!I", 0))
    close = postgres_message(b"C", b"S\0")
    whole = [
        parse + bind + postgres_message(b"D", b"P\0") + execute + close + sync,
        postgres_message(b"Q", b"BEGIN\0") + parse + bind + execute + sync + postgres_message(b"Q", b"ROLLBACK\0"),
        postgres_message(b"Q", b"COPY (SELECT 1) TO STDOUT\0"),
        postgres_message(b"Q", b"DECLARE c CURSOR FOR SELECT 1\0") + postgres_message(b"Q", b"FETCH 1 FROM c\0"),
        postgres_message(b"F", struct.pack("!IHHH", 1, 0, 0, 0)) + sync,
        postgres_message(b"d", b"1\t2\n") + postgres_message(b"c", b"") + sync,
        postgres_message(b"p", b"secret\0"),
        postgres_message(b"H", b"") + sync,
        postgres_message(b"X", b""),
    ]
    return query + extended + whole
