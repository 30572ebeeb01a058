#!/usr/bin/env python3
"""The same statements on a lake in gs:// and in az://, with two servers that write at once."""

import base64
import concurrent.futures
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients"))

from front import Front
from server import Server

BUCKET = "proof"
APPENDS = 20


def check(what: str, got, wanted) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: {got!r} instead of {wanted!r}")
    print(f"  {what}: {got!r}", flush=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Program:
    """Another server as a process."""

    def __init__(self, folder: pathlib.Path, port: int, *command: str) -> None:
        self.log = folder / "emulator.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        last = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > last:
                    sys.exit(f"{command[0]} does not start:\n{self.log.read_text()}")
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


class Google:
    """fake-gcs-server behind the XML API."""

    scheme = "gs"

    def __init__(self, folder: pathlib.Path) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.program = Program(
            folder, port, os.environ["FAKE_GCS_SERVER"], "-scheme", "http", "-host", "127.0.0.1",
            "-port", str(port), "-public-host", self.address, "-backend", "memory", "-log-level", "error",
        )  # fmt: skip
        connection = http.client.HTTPConnection(self.address)
        body = json.dumps({"name": BUCKET})
        connection.request("POST", "/storage/v1/b?project=proof", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200, "no bucket could be made"
        self.front = Front(self.address)

    def environment(self, url: str) -> dict:
        account = {
            "gcs_base_url": url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "no-secret-of-anybody",
            "private_key_id": "",
        }
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}

    def settings(self) -> dict:
        return self.environment(self.front.url)

    def refused(self, folder: pathlib.Path) -> None:
        deaf = Front(self.address, conditions=False)
        log = refusal(folder, "gs", self.environment(deaf.url))
        assert "does not support put-if-absent" in log, log
        deaf.stop()
        print("  a store that does not look at conditions: refused at the start")

    def extras(self) -> None:
        seen = self.front.seen
        for what in ("conditional", "refused", "pages", "uploads"):
            assert seen[what] > 0, f"{what}: {seen}"
        print(f"  requests that matter: {seen}")

    def stop(self) -> None:
        self.front.stop()
        self.program.stop()


class Azure:
    """Azurite."""

    scheme = "az"
    # Everybody's: the account and the key of every emulator of Azure.
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, folder: pathlib.Path) -> None:
        self.port = free_port()
        # It knows the versions of the protocol up to its own; clients are newer at times.
        self.program = Program(
            folder, self.port, os.environ["AZURITE_BLOB"], "--silent", "--inMemoryPersistence",
            "--skipApiVersionCheck", "--disableTelemetry",
            "--blobHost", "127.0.0.1", "--blobPort", str(self.port),
        )  # fmt: skip
        date, version = email.utils.formatdate(usegmt=True), "2021-12-02"
        resource = f"/{self.account}/{self.account}/{BUCKET}\nrestype:container"
        text = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:{version}\n{resource}"
        signature = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        headers = {
            "x-ms-date": date,
            "x-ms-version": version,
            "Content-Length": "0",
            "Authorization": f"SharedKey {self.account}:{base64.b64encode(signature).decode()}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("PUT", f"/{self.account}/{BUCKET}?restype=container", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()

    def settings(self) -> dict:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{self.port}/{self.account}",
            "AZURE_ALLOW_HTTP": "true",
        }

    def refused(self, folder: pathlib.Path) -> None:
        wrong = self.settings() | {"AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"wrong").decode()}
        log = refusal(folder, "az", wrong)
        assert "az://" in log, log
        print("  a wrong key: refused at the start")

    def extras(self) -> None:
        pass

    def stop(self) -> None:
        self.program.stop()


def refusal(folder: pathlib.Path, scheme: str, settings: dict) -> str:
    server = Server(folder / "refused")
    server.folder.mkdir()
    server.environment |= settings
    try:
        server.start("--lake", f"{scheme}://{BUCKET}/refused")
    except AssertionError as error:
        return str(error)
    server.stop()
    raise AssertionError("the server starts")


def proof(store, folder: pathlib.Path) -> None:
    servers = []
    for name in ("first", "second"):
        server = Server(folder / name)
        server.folder.mkdir()
        server.environment |= store.settings()
        servers.append(server.start("--lake", f"{store.scheme}://{BUCKET}/lake"))
    first, second = servers
    try:
        with first.connect() as one, second.connect() as two:
            work(one, two)
        everything = "".join(first.log + second.log)
        for secret in ("no-secret-of-anybody", Azure.key):
            assert secret not in everything, "a secret is in the log"
        store.extras()
    except BaseException:
        print("".join(first.log + second.log)[-4000:], file=sys.stderr)
        raise
    finally:
        for server in servers:
            server.stop()
    store.refused(folder)


def work(one, two) -> None:
    def run(connection, sql):
        with connection.cursor() as cursor:
            return cursor.adbc_statement.set_sql_query(sql) or cursor.adbc_statement.execute_update()

    def rows(connection, sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    run(one, "CREATE SCHEMA s")
    run(one, "CREATE TABLE s.t (id BIGINT NOT NULL, b VARCHAR, day DATE) PARTITIONED BY (b) LOCATION 'shared/t'")
    check("rows written", run(one, "INSERT INTO s.t VALUES (1, 'x', DATE '2026-01-01'), (2, 'a b/c%', NULL), (3, NULL, NULL)"), 3)
    run(two, "CREATE TABLE t USING DELTA LOCATION 'shared/t'")
    check("the other server sees them", rows(two, "SELECT id, b FROM t ORDER BY id"), [(1, "x"), (2, "a b/c%"), (3, None)])
    check("updated", run(two, "UPDATE t SET day = DATE '2026-02-02' WHERE id = 2"), 1)
    merge = (
        "MERGE INTO s.t AS t USING (SELECT 2 AS id, 'x' AS b UNION ALL SELECT 4, 'y') AS s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET b = s.b WHEN NOT MATCHED THEN INSERT (id, b) VALUES (s.id, s.b)"
    )
    check("merged", run(one, merge), 2)
    check("deleted", run(two, "DELETE FROM t WHERE id = 3"), 1)
    check("rows", rows(one, "SELECT id, b FROM s.t ORDER BY id"), [(1, "x"), (2, "x"), (4, "y")])
    check("an older version", rows(one, "SELECT count(*) FROM s.t VERSION AS OF 1"), [(3,)])

    # More than one part of an upload, and more than one page of a listing.
    run(one, "CREATE TABLE s.big LOCATION 'shared/big' AS SELECT value AS id, sha256(CAST(value AS VARCHAR)) AS h FROM generate_series(1, 1000000)")
    check("a large table", rows(one, "SELECT count(*), sum(id) FROM s.big WHERE id > 10"), [(999990, 500000499945)])
    run(one, "CREATE MATERIALIZED VIEW s.m AS SELECT count(*) AS n FROM s.t")
    run(one, "REFRESH MATERIALIZED VIEW s.m SYNC")
    check("a transform", rows(one, "SELECT n FROM s.m"), [(3,)])
    run(one, "COPY (SELECT 7 AS id) TO 'in/a b/1.csv'")
    run(one, "COPY (SELECT 8 AS id) TO 'in/a b/2%.csv'")
    check("files", rows(one, "SELECT sum(id) FROM read_csv('in/*/*.csv')"), [(15,)])

    before = rows(one, "SELECT count(*) FROM s.t")[0][0]

    def append(connection, table, base):
        for n in range(APPENDS):
            run(connection, f"INSERT INTO {table} (id, b) VALUES ({base + n}, 'p')")

    def change(connection, table, base):
        done = 0
        while done < 5:
            try:
                run(connection, f"UPDATE {table} SET day = DATE '2026-03-03' WHERE id = {base + done} OR id = 1")
                done += 1
            except Exception as error:
                if "changed by somebody else" not in str(error):
                    raise

    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(append, one, "s.t", 1000), pool.submit(append, two, "t", 2000)]
        [each.result() for each in both]
        check("two servers that append at once", rows(one, "SELECT count(*), count(DISTINCT id) FROM s.t"), [(before + 2 * APPENDS,) * 2])
        both = [pool.submit(change, one, "s.t", 1000), pool.submit(change, two, "t", 2000)]
        [each.result() for each in both]
    check("two that change rows at once", rows(two, "SELECT count(*), count(DISTINCT id), count(day) FROM t"), [(before + 2 * APPENDS, before + 2 * APPENDS, 12)])
    history = [row[0] for row in rows(one, "DESCRIBE HISTORY s.t")]
    check("versions in the history, none missing", history == list(range(history[0], -1, -1)), True)

    run(one, "OPTIMIZE s.t")
    run(one, "ALTER TABLE s.t SET TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 seconds')")
    time.sleep(1.5)
    stale = len(rows(one, "VACUUM s.t DRY RUN"))
    run(one, "VACUUM s.t")
    check("files to delete before VACUUM, and after it", (stale > 40, len(rows(one, "VACUUM s.t DRY RUN"))), (True, 0))
    check("rows after it", rows(two, "SELECT count(*) FROM t"), [(before + 2 * APPENDS,)])
    with two.cursor() as cursor:
        cursor.execute("VALIDATE t")
        findings = cursor.fetch_arrow_table().select(["severity", "problem"]).to_pylist()
    bad = [one for one in findings if one["severity"] not in ("ok", "notice")]
    check("checks of VALIDATE, and what they found", (len(findings) >= 6, bad), (True, []))
    run(one, "DROP TABLE s.big PURGE")
    try:
        run(two, "CREATE TABLE big USING DELTA LOCATION 'shared/big'")
    except Exception as error:
        check("a purged table is gone", "shared/big" in str(error), True)
    else:
        raise AssertionError("a purged table is still there")


def main() -> int:
    # So that whoever ends this also ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for kind in (Google, Azure):
        if kind.scheme not in sys.argv[1:]:
            continue
        print(f"{kind.scheme}://", flush=True)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="whimbrel-clouds."))
        try:
            store = kind(folder)
            try:
                proof(store, folder)
            finally:
                store.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print("tests/proofs/clouds/run: everything holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
