"""The servers that drivers are asked against: one open to everybody, one with TLS and a user."""

from __future__ import annotations

import contextlib
import pathlib
import sys

import trustme
from cases import HERE, Place

sys.path.insert(0, str(HERE.parents[1] / "clients"))

from server import Server  # noqa: E402

FIXTURE = [
    "CREATE SCHEMA compat_schema",
    "CREATE TABLE compat_schema.orders (id BIGINT NOT NULL, price DECIMAL(10, 2), day DATE, PRIMARY KEY (id))",
    "INSERT INTO compat_schema.orders VALUES (1, 1.50, DATE '2024-02-29'), (2, NULL, NULL), (3, 2.50, DATE '2024-03-01')",
    "CREATE VIEW compat_schema.spent AS SELECT sum(price) AS spent FROM compat_schema.orders",
]


@contextlib.contextmanager
def servers(folder: pathlib.Path, more: list[str]):
    """Both of them, for as long as the block runs; the open one has also done the statements of `more`."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("open", "tls"):
        (folder / name).mkdir()
    plain, tls = Server(folder / "open"), Server(folder / "tls")
    tls.environment |= {
        "WHIMBREL__SERVER__TLS_CERT": str(folder / "cert.pem"),
        "WHIMBREL__SERVER__TLS_KEY": str(folder / "key.pem"),
    }
    tls.add_user(Place.user, Place.password)
    with contextlib.ExitStack() as running:
        for server in (plain, tls):
            server.start("--pg-addr", "127.0.0.1:0")
            running.callback(server.stop)
        with plain.connect() as connection, connection.cursor() as cursor:
            for statement in FIXTURE + more:
                cursor.execute(statement)
        yield Place(
            flight=plain.url.split("://")[1],
            postgres=f"{plain.postgres['host']}:{plain.postgres['port']}",
            tls_flight="localhost:" + tls.url.rsplit(":", 1)[1],
            tls_postgres=f"localhost:{tls.postgres['port']}",
            authority=str(folder / "ca.pem"),
        )
