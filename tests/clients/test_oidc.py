"""Tokens of an OpenID Connect issuer, signed by a real one that changes its keys and goes away."""

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import subprocess
import threading
import time

import adbc_driver_manager
import psycopg
import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from server import Server, binary

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, length: int | None = None) -> str:
    return text(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class Key:
    """A key of an issuer: what it signs with and what it publishes."""

    def __init__(self, key_id: str, kind: str) -> None:
        self.id = key_id
        if kind == "RSA":
            self.private = rsa.generate_private_key(65537, 2048)
            numbers = self.private.public_key().public_numbers()
            self.jwk = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        elif kind == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
            raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.jwk = {"kty": "OKP", "crv": kind, "x": text(raw)}
        else:
            curve, length = {"P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48)}[kind]
            self.private = ec.generate_private_key(curve)
            numbers = self.private.public_key().public_numbers()
            self.jwk = {"kty": "EC", "crv": kind, "x": number(numbers.x, length), "y": number(numbers.y, length)}
        self.jwk |= {"kid": key_id, "use": "sig"}

    def sign(self, algorithm: str, message: bytes) -> bytes:
        kind, digest = algorithm[:2], HASHES.get(algorithm[2:])
        if kind == "RS":
            return self.private.sign(message, padding.PKCS1v15(), digest)
        if kind == "PS":
            return self.private.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        if kind == "ES":
            r, s = utils.decode_dss_signature(self.private.sign(message, ec.ECDSA(digest)))
            return b"".join(part.to_bytes(digest.digest_size, "big") for part in (r, s))
        return self.private.sign(message)


class Issuer:
    """Discovery and keys over HTTP, on this machine."""

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                documents = {"/tenant/.well-known/openid-configuration": issuer.discovery, "/keys": issuer.key_set}
                document = documents.get(self.path)
                if issuer.down or document is None:
                    self.send_error(503)
                    return
                body = json.dumps(document()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/tenant"
        self.keys = [Key("one", "P-256")]
        self.asked = []
        self.down = False
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def discovery(self) -> dict:
        return {"issuer": self.url, "jwks_uri": self.url.removesuffix("/tenant") + "/keys"}

    def key_set(self) -> dict:
        return {"keys": [key.jwk for key in self.keys]}

    def claims(self, **changes) -> dict:
        now = int(time.time())
        claims = {"iss": self.url, "aud": "whimbrel", "sub": "ann", "iat": now, "nbf": now, "exp": now + 600}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, key: Key | None = None, algorithm: str = "ES256", **changes) -> str:
        key = key or self.keys[0]
        head = {"alg": algorithm, "typ": "JWT", "kid": key.id}
        signed = text(json.dumps(head).encode()) + "." + text(json.dumps(self.claims(**changes)).encode())
        return signed + "." + text(key.sign(algorithm, signed.encode()))


@pytest.fixture
def issuer():
    issuer = Issuer()
    yield issuer
    issuer.server.shutdown()


def start(server: Server, issuer: Issuer, **settings: str) -> Server:
    settings = {"ISSUER": issuer.url, "AUDIENCE": "whimbrel, other", **settings}
    server.environment |= {f"WHIMBREL__AUTH__OIDC__{name}": value for name, value in settings.items()}
    server.add_user("adm", "pw")
    server.add_user_without_password("ann")
    return server.start()


def connect(server: Server, token: str):
    return server.connect(**{"adbc.flight.sql.authorization_header": f"Bearer {token}"})


def query(server: Server, token: str, sql: str = "SELECT current_user()"):
    with connect(server, token) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def refused(server: Server, token: str, sql: str = "SELECT 1") -> adbc_driver_manager.Error:
    with pytest.raises(adbc_driver_manager.Error) as raised:
        query(server, token, sql)
    return raised.value


def by_admin(server: Server, *statements: str) -> None:
    with server.connect("adm", "pw") as connection, connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def eventually(what: str, look):
    end = time.monotonic() + 60
    while True:
        try:
            return look()
        except adbc_driver_manager.Error as error:
            assert time.monotonic() < end, f"waited in vain until {what}: {error}"
            time.sleep(0.2)


def test_a_token_of_the_issuer_opens_what_its_user_may_see(stopped, issuer):
    issuer.keys = [Key("r", "RSA"), Key("a", "P-256"), Key("b", "P-384"), Key("e", "Ed25519")]
    server = start(stopped, issuer)
    kinds = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
    for key, algorithm in zip([issuer.keys[0]] * 6 + issuer.keys[1:], kinds, strict=True):
        assert query(server, issuer.token(key, algorithm)) == "ann", algorithm
    # Asked once, for all of them.
    assert issuer.asked.count("/keys") == 1
    # Users log in by password as before, and nobody is anonymous.
    with server.connect("adm", "pw") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user()")
        assert cursor.fetchone() == ("adm",)
    with pytest.raises(adbc_driver_manager.Error, match="log in"):
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_a_token_opens_the_postgres_port_where_nobody_reads_it(stopped, issuer):
    start_on = {"WHIMBREL__SERVER__PG_ADDR": "127.0.0.1:0"}
    stopped.environment |= start_on
    server = start(stopped, issuer)

    def asked(token, user="ann", options="-c whimbrel.login=token"):
        with psycopg.connect(
            dbname="whimbrel", user=user, password=token, options=options, **server.postgres
        ) as connection:
            return connection.execute("SELECT current_user").fetchone()[0]

    assert asked(issuer.token()) == "ann"
    for token, user in [
        (issuer.token(), "adm"),
        (issuer.token(exp=1), "ann"),
        (issuer.token(aud="another"), "ann"),
        ("pw", "adm"),
    ]:
        with pytest.raises(psycopg.OperationalError):
            asked(token, user)
    # Without the word a password is meant, and that is proven without sending it.
    with pytest.raises(psycopg.OperationalError, match="wrong user name or password"):
        asked(issuer.token(), options="")


def test_our_own_commands_send_the_token_too(stopped, issuer):
    server = start(stopped, issuer)
    command = [binary(), "sql", "--url", server.url, "-c", "SELECT current_user()", "--format", "csv"]
    for token, said in [(issuer.token(), "ann"), (issuer.token(sub="eve"), "who is no user")]:
        environment = server.environment | {"WHIMBREL_TOKEN": token}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert said in ended.stdout + ended.stderr and token not in ended.stderr


def test_nobody_is_anonymous_where_an_issuer_says_who_asks(stopped, issuer):
    stopped.environment |= {"WHIMBREL__AUTH__OIDC__ISSUER": issuer.url, "WHIMBREL__AUTH__OIDC__AUDIENCE": "whimbrel"}
    stopped.environment["WHIMBREL__AUTH__OIDC__UNKNOWN_USERS"] = "create"
    server = stopped.start()
    with pytest.raises(adbc_driver_manager.Error, match="log in"):
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert "no admin yet" in str(refused(server, issuer.token()))


def test_tokens_that_are_wrong_are_refused_and_told_why(stopped, issuer):
    server = start(stopped, issuer)
    key, now = issuer.keys[0], int(time.time())
    claims = text(json.dumps(issuer.claims()).encode())
    none = text(b'{"alg":"none"}') + "." + claims + "."
    # The public key as the secret of a shared one: what careless libraries take.
    public = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    by_secret = text(b'{"alg":"HS256","kid":"one"}') + "." + claims
    by_secret += "." + text(hmac.new(public, by_secret.encode(), hashlib.sha256).digest())
    good = issuer.token()
    for token, why in [
        (issuer.token(Key("one", "P-256")), "signature"),
        (none, "algorithm 'none'"),
        (by_secret, "algorithm 'HS256'"),
        (issuer.token(exp=now - 100), "expired"),
        (issuer.token(exp=None), "'exp'"),
        (issuer.token(nbf=now + 100), "not valid yet"),
        (issuer.token(iat=now + 100), "not valid yet"),
        (issuer.token(aud="somebody else"), "audience"),
        (issuer.token(aud=None), "audience"),
        (issuer.token(iss="https://w.example"), "another issuer"),
        (issuer.token(sub="eve"), "'eve', who is no user"),
        (issuer.token(sub="admin"), "'admin', who is no user"),
        (issuer.token(sub="anonymous"), "who is no user"),
        (issuer.token(Key("two", "P-256")), "no key of that name"),
        (good[:-10], "signature"),
        (good[: good.rindex(".")], "token"),
        ("a.b.c", "base64url"),
    ]:
        error = refused(server, token)
        assert why in str(error), (why, error)
        assert error.status_code == adbc_driver_manager.AdbcStatusCode.UNAUTHENTICATED, error
        assert token not in str(error)
    assert "more than 16384 bytes" in str(refused(server, issuer.token(more="x" * 20_000)))
    # Larger than any header may be: the connection says no, and the server lives.
    refused(server, issuer.token(more="x" * 100_000))
    assert query(server, good) == "ann"
    log = "".join(server.log)
    assert good not in log and good[good.rindex(".") :] not in log


def test_the_issuer_changes_its_keys_while_the_server_runs(stopped, issuer):
    server = start(stopped, issuer)
    old = issuer.token()
    assert query(server, old) == "ann"
    issuer.keys.append(Key("two", "RSA"))
    new = issuer.token(issuer.keys[1], "RS256")
    assert eventually("the new key is known", lambda: query(server, new)) == "ann"
    assert query(server, old) == "ann"
    issuer.keys = [Key("three", "Ed25519")]
    newest = issuer.token(algorithm="EdDSA")
    assert eventually("the newest key is known", lambda: query(server, newest)) == "ann"
    # Those that were taken back open nothing, though they were good a moment ago.
    for token in [old, new]:
        assert "no key of that name" in str(refused(server, token))


def test_keys_at_hand_are_used_while_the_issuer_is_down(stopped, issuer):
    issuer.down = True
    server = start(stopped, issuer)
    error = refused(server, issuer.token())
    assert "keys of the issuer cannot be read" in str(error)
    assert error.status_code == adbc_driver_manager.AdbcStatusCode.IO, error
    issuer.down = False
    eventually("the issuer is asked again", lambda: query(server, issuer.token()))
    issuer.down = True
    assert query(server, issuer.token(jti="another")) == "ann"
    assert "no key of that name" in str(refused(server, issuer.token(Key("two", "P-256"))))


def test_made_up_names_of_keys_do_not_bother_the_issuer(stopped, issuer):
    server = start(stopped, issuer)
    query(server, issuer.token())
    stranger = Key("x", "P-256")
    begin = time.monotonic()
    for n in range(40):
        stranger.id = f"x{n}"
        refused(server, issuer.token(stranger))
    questions = issuer.asked.count("/keys")
    assert questions <= 3 + (time.monotonic() - begin) / 5, questions


def test_groups_of_the_token_are_roles_for_as_long_as_it_says_so(stopped, issuer):
    roles = "data team=analyst, root=admin, ghosts=nobody, people=adm"
    server = start(stopped, issuer, UNKNOWN_USERS="create", ROLES_CLAIM="realm_access.roles", ROLES=roles)
    by_admin(
        server,
        "CREATE TABLE t AS SELECT 7 AS a",
        "CREATE ROLE analyst",
        "GRANT SELECT ON t TO analyst",
        "CREATE TABLE open_to_all AS SELECT 8 AS a",
        "GRANT SELECT ON open_to_all TO public",
    )

    def member(*groups: str) -> str:
        return issuer.token(sub="eve", realm_access={"roles": groups})

    assert query(server, member(), "SELECT a FROM open_to_all") == 8
    assert "not" in str(refused(server, member(), "SELECT a FROM t"))
    assert query(server, member("data team"), "SELECT a FROM t") == 7
    assert query(server, member("data team"), "SELECT has_role('analyst')")
    # A group without a role, one whose role does not exist, and one whose role is a user.
    for groups in [["analyst"], ["admin"], ["ghosts"], ["people"]]:
        assert "not" in str(refused(server, member(*groups), "SELECT a FROM t"))
    assert "denied" in str(refused(server, member("data team"), "DROP TABLE t")).lower()
    assert "denied" in str(refused(server, member("data team"), "CREATE ROLE x")).lower()
    by_group = connect(server, member("root"))
    with by_group as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE made_by_root")
    # She is a user now, whom rights can be given to, and no more than that.
    assert "not" in str(refused(server, member(), "SELECT a FROM t"))
    by_admin(server, "GRANT SELECT ON t TO eve")
    assert query(server, member(), "SELECT a FROM t") == 7
    # The name of a role is nobody's.
    for name in ["analyst", "admin", "public", "anonymous", "whimbrel"]:
        assert "who is no user" in str(refused(server, issuer.token(sub=name))), name
    with pytest.raises(adbc_driver_manager.Error, match="wrong user name or password"):
        with server.connect("eve", "") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_an_issuer_with_an_authority_of_its_own_is_asked_over_tls(stopped, tmp_path):
    authority = trustme.CA()
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(root)
    issuer = Issuer(authority.issue_cert("127.0.0.1"))
    server = start(stopped, issuer, CA=str(root))
    assert query(server, issuer.token()) == "ann"
    server.stop()
    del server.environment["WHIMBREL__AUTH__OIDC__CA"]
    server.start()
    assert "keys of the issuer cannot be read" in str(refused(server, issuer.token()))
    assert "certificate" in "".join(server.log)
    issuer.server.shutdown()
