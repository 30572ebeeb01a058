"""Certificates of the server and of its clients, with real clients on both ports."""

import datetime
import pathlib
import socket
import ssl
import subprocess
import time

import adbc_driver_manager
import psycopg
import pytest
import trustme
from server import Server, binary

OPTION = "adbc.flight.sql.client_option."


class Pki:
    """An authority and what it has signed, as files."""

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.authority = trustme.CA()
        self.root = folder / "root.pem"
        self.authority.cert_pem.write_to_path(self.root)

    def issue(self, name: str, *identities: str, **options) -> tuple[pathlib.Path, pathlib.Path]:
        issued = self.authority.issue_cert(*identities, **options)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return cert, key


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


def secure(server: Server, pki: Pki, **settings: str) -> Server:
    """Starts a server with a certificate, on both ports, with the user ann."""
    cert, key = pki.issue("server", "127.0.0.1", "localhost")
    server.environment |= {"WHIMBREL__SERVER__TLS_CERT": str(cert), "WHIMBREL__SERVER__TLS_KEY": str(key)}
    server.environment |= {f"WHIMBREL__SERVER__{name}": value for name, value in settings.items()}
    server.add_user("ann", "pw")
    return server.start("--pg-addr", "127.0.0.1:0")


def flight(server: Server, pki: Pki, user=None, password=None, own=None):
    options = {OPTION + "tls_root_certs": pki.root.read_text()}
    if own is not None:
        options |= {OPTION + "mtls_cert_chain": own[0].read_text(), OPTION + "mtls_private_key": own[1].read_text()}
    return server.connect(user, password, **options)


def postgres(server: Server, pki: Pki, own=None, **options):
    options = {"dbname": "whimbrel", "sslmode": "verify-full", "sslrootcert": pki.root, "autocommit": True, **options}
    if own is not None:
        options |= {"sslcert": own[0], "sslkey": own[1]}
    return psycopg.connect(**server.postgres, **options)


def who_by_flight(*arguments, **options) -> str:
    with flight(*arguments, **options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user()")
        return cursor.fetchone()[0]


def who_by_postgres(*arguments, **options) -> str:
    with postgres(*arguments, **options) as connection:
        return connection.execute("SELECT current_user").fetchone()[0]


def refused_by_flight(*arguments, **options) -> str:
    with pytest.raises(adbc_driver_manager.Error) as raised:
        who_by_flight(*arguments, **options)
    return str(raised.value)


def wait_for(server: Server, text: str, times: int = 1) -> None:
    end = time.monotonic() + 60
    while "".join(server.log).count(text) < times:
        assert time.monotonic() < end, f"no '{text}' in the log:\n" + "".join(server.log)
        time.sleep(0.05)


def test_a_new_certificate_is_for_new_connections_and_a_stream_goes_on(stopped, pki, tmp_path):
    server = secure(stopped, pki)
    with flight(server, pki, "ann", "pw") as connection, connection.cursor() as cursor:
        # More than windows and buffers hold, so that most of it comes later.
        cursor.execute("SELECT value FROM range(0, 6000000)")
        reader = cursor.fetch_record_batch()
        rows = reader.read_next_batch().num_rows
        with postgres(server, pki, user="ann", password="pw") as session:
            other = Pki(tmp_path / "other")
            cert, key = other.issue("server", "127.0.0.1", "localhost")
            (pki.folder / "server.pem").write_bytes(cert.read_bytes())
            (pki.folder / "server-key.pem").write_bytes(key.read_bytes())
            wait_for(server, "new TLS certificates are in use")
            assert session.execute("SELECT 1").fetchone() == (1,)
        assert who_by_flight(server, other, "ann", "pw") == "ann"
        assert who_by_postgres(server, other, user="ann", password="pw") == "ann"
        assert "certificate" in refused_by_flight(server, pki, "ann", "pw")
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            postgres(server, pki, user="ann", password="pw")
        rows += sum(batch.num_rows for batch in reader)
        assert rows == 6_000_000


def test_a_certificate_that_cannot_be_used_changes_nothing(stopped, pki):
    server = secure(stopped, pki)
    good = (pki.folder / "server-key.pem").read_bytes()
    _, key = pki.issue("other", "127.0.0.1")
    (pki.folder / "server-key.pem").write_bytes(key.read_bytes())
    wait_for(server, "the old ones stay in use")
    assert who_by_flight(server, pki, "ann", "pw") == "ann"
    assert who_by_postgres(server, pki, user="ann", password="pw") == "ann"
    # Long enough for two more looks: it is told of once.
    (pki.folder / "server-key.pem").write_bytes(b"nothing")
    wait_for(server, "the old ones stay in use", 2)
    assert "".join(server.log).count("the old ones stay in use") == 2
    assert good.decode() not in "".join(server.log)


def test_a_server_does_not_start_with_a_certificate_that_cannot_be_used(stopped, pki):
    cert, _ = pki.issue("server", "127.0.0.1")
    _, key = pki.issue("other", "127.0.0.1")
    server = stopped
    for cert, key, why in [(cert, key, "do not fit together"), (key, key, "certificate"), (cert, "/none", "/none")]:
        environment = server.environment | {"WHIMBREL__SERVER__TLS_CERT": str(cert), "WHIMBREL__SERVER__TLS_KEY": str(key)}
        command = [binary(), "serve", "--data-dir", server.data_dir, "--flight-addr", "127.0.0.1:0"]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert ended.returncode != 0 and why in ended.stderr, ended.stderr


def open_sockets(address, count: int, first: bytes) -> list[socket.socket]:
    sockets = []
    for _ in range(count):
        sockets.append(socket.create_connection(address))
        sockets[-1].sendall(first)
    return sockets


def test_connections_that_stall_or_send_nonsense_hold_up_nobody(stopped, pki):
    server = secure(stopped, pki)
    host, port = server.url.removeprefix("grpc+tls://").rsplit(":", 1)
    on_flight, on_postgres = (host, int(port)), (server.postgres["host"], server.postgres["port"])
    # The first bytes of a hello, and no more.
    hello = b"\x16\x03\x01\x02\x00\x01"
    stalled = open_sockets(on_flight, 300, hello) + open_sockets(on_postgres, 300, b"\0\0")
    nonsense = open_sockets(on_flight, 100, b"GET / HTTP/1.1\r\n\r\n")
    begin = time.monotonic()
    assert who_by_flight(server, pki, "ann", "pw") == "ann"
    assert who_by_postgres(server, pki, user="ann", password="pw") == "ann"
    # Nowhere near the ten seconds that a stalled one has.
    assert time.monotonic() - begin < 8
    # Those that had waited for longest made room, and the others end by themselves.
    for one in [stalled[0], stalled[300]]:
        one.settimeout(1)
        assert one.recv(1) == b""
    nonsense[0].settimeout(5)
    assert nonsense[0].recv(1) == b"\x15", "an alert says that this was no TLS"
    stalled[299].settimeout(20)
    assert stalled[299].recv(100) == b""
    told = [line for line in server.log if "TLS" in line]
    assert len(told) < 10, told
    for one in stalled + nonsense:
        one.close()


def test_other_protocols_are_not_begun(stopped, pki):
    server = secure(stopped, pki)
    host, port = server.url.removeprefix("grpc+tls://").rsplit(":", 1)
    context = ssl.create_default_context(cafile=str(pki.root))
    context.set_alpn_protocols(["http/1.1"])
    with socket.create_connection((host, int(port))) as one, pytest.raises(ssl.SSLError):
        context.wrap_socket(one, server_hostname=host)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port))) as one:
        with context.wrap_socket(one, server_hostname=host) as encrypted:
            assert encrypted.selected_alpn_protocol() == "h2"


def with_certificates(stopped: Server, pki: Pki, auth: str = "optional") -> Server:
    stopped.add_user("adm", "pw")
    for name in ["ben", "cat@w.example"]:
        stopped.add_user_without_password(name)
    return secure(stopped, pki, TLS_CLIENT_CA=str(pki.root), TLS_CLIENT_AUTH=auth)


def test_a_certificate_lets_its_user_in_without_a_password(stopped, pki):
    server = with_certificates(stopped, pki)
    ben = pki.issue("ben", common_name="ben")
    cat = pki.issue("cat", "cat@w.example", common_name="ben")
    assert who_by_flight(server, pki, own=ben) == "ben"
    assert who_by_flight(server, pki, own=cat) == "cat@w.example"
    assert who_by_postgres(server, pki, user="ben", own=ben) == "ben"
    assert who_by_postgres(server, pki, user="cat@w.example", own=cat) == "cat@w.example"
    # Who has no password cannot log in by one.
    assert "wrong user name or password" in refused_by_flight(server, pki, "ben", "")
    assert "wrong user name or password" in refused_by_flight(server, pki, "ben", "x")
    with pytest.raises(psycopg.OperationalError, match="wrong user name or password"):
        postgres(server, pki, user="ben", password="x")


def test_a_password_goes_before_a_certificate_and_has_to_be_right(stopped, pki):
    server = with_certificates(stopped, pki)
    ben = pki.issue("ben", common_name="ben")
    assert who_by_flight(server, pki, "ann", "pw", own=ben) == "ann"
    assert who_by_postgres(server, pki, user="ann", password="pw", own=ben) == "ann"
    assert "wrong user name or password" in refused_by_flight(server, pki, "ann", "no", own=ben)
    with pytest.raises(psycopg.OperationalError, match="wrong user name or password"):
        postgres(server, pki, user="ann", password="no", own=ben)
    # Nobody without either.
    assert "log in" in refused_by_flight(server, pki)


def test_certificates_of_strangers_and_of_other_times_open_nothing(stopped, pki, tmp_path):
    server = with_certificates(stopped, pki)
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    others = Pki(tmp_path / "others")
    foreign = others.issue("ben", common_name="ben")
    expired = pki.issue("expired", common_name="ben", not_before=now - 2 * day, not_after=now - day)
    early = pki.issue("early", common_name="ben", not_before=now + day, not_after=now + 2 * day)
    for own in [foreign, expired, early]:
        refused_by_flight(server, pki, own=own)
        with pytest.raises(psycopg.OperationalError):
            postgres(server, pki, user="ben", own=own)
    stranger = pki.issue("stranger", common_name="eve")
    assert "'eve', who is no user" in refused_by_flight(server, pki, own=stranger)
    with pytest.raises(psycopg.OperationalError, match="'eve', who is no user"):
        postgres(server, pki, user="eve", own=stranger)
    for reserved in ["anonymous", "whimbrel", "admin", "public"]:
        own = pki.issue(reserved, common_name=reserved)
        assert "who is no user" in refused_by_flight(server, pki, own=own)
    two = pki.issue("two", "a@w.example", "cat@w.example")
    assert "more than one e-mail address" in refused_by_flight(server, pki, own=two)
    assert who_by_flight(server, pki, "ann", "pw", own=two) == "ann"


def test_where_certificates_are_required_nobody_connects_without(stopped, pki):
    server = with_certificates(stopped, pki, "required")
    ben = pki.issue("ben", common_name="ben")
    refused_by_flight(server, pki, "ann", "pw")
    with pytest.raises(psycopg.OperationalError):
        postgres(server, pki, user="ann", password="pw")
    assert who_by_flight(server, pki, own=ben) == "ben"
    assert who_by_flight(server, pki, "ann", "pw", own=ben) == "ann"
    assert who_by_postgres(server, pki, user="ben", own=ben) == "ben"
    command = [binary(), "sql", "--url", server.url, "--tls-ca", pki.root, "-c", "SELECT current_user()", "--format", "csv"]
    own = ["--tls-cert", ben[0], "--tls-key", ben[1]]
    answered = subprocess.run(command + own, capture_output=True, text=True, env=server.environment, timeout=60)
    assert answered.stdout.splitlines()[1:] == ["ben"], answered.stderr
    refused = subprocess.run(command, capture_output=True, text=True, env=server.environment, timeout=60)
    assert refused.returncode != 0


def test_a_user_who_is_dropped_is_out_with_any_certificate(stopped, pki):
    server = with_certificates(stopped, pki)
    ben = pki.issue("ben", common_name="ben")
    with flight(server, pki, own=ben) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
        with flight(server, pki, "adm", "pw") as admin, admin.cursor() as by_admin:
            by_admin.execute("DROP USER ben")
        with pytest.raises(adbc_driver_manager.Error):
            cursor.execute("SELECT 1")
            cursor.fetchone()
