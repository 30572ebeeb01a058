"""The processes of a storm: PostgreSQL, an S3 server, servers and workers; and what happens to them."""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time

from pyarrow import fs

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONFIGURES = ("WHIMBREL", "AWS_", "AZURE_", "GOOGLE_", "RUST_LOG")
LEASE = 3.0
# Where a debug build can be told to die: see engine/lake/src/faults.rs.
POINTS = ("claimed", "staged", "committed", "before_finish", "quarantine_committed")
BUCKET, ACCESS_KEY, SECRET_KEY = "whimbrel-storm", "whimbrel-storm", "whimbrel-storm-secret"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def environment() -> dict[str, str]:
    """That of the caller, with nothing that could change what a server does."""
    return {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURES)}


def eventually(what: str, look, seconds: float = 60):
    """What `look` answers, once it does not answer None or False."""
    last = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > last:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)
    return found


class Postgres:
    """A PostgreSQL on a new cluster, which is gone after it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.programs = pathlib.Path(os.environ["POSTGRES_BIN"])
        self.port = free_ports(1)[0]
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        folder.chmod(0o711)
        with (folder / "postgres.log").open("w") as log:
            command = [ROOT / "bench" / "postgres", self.programs, folder / "postgres" / "cluster", str(self.port)]
            (folder / "postgres").mkdir()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        eventually("PostgreSQL lets somebody in", lambda: self._psql("SELECT 1").returncode == 0)

    def _psql(self, sql: str) -> subprocess.CompletedProcess:
        place = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres sslmode=disable"
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", place, "-f", "-"]
        return subprocess.run([self.programs / "psql", *options], input=sql, capture_output=True, text=True)

    def ask(self, sql: str) -> list[dict]:
        """The rows of a query, as objects; a statement that is no query answers none."""
        is_query = sql.lstrip().upper().startswith(("SELECT", "WITH"))
        answer = self._psql(f"SELECT row_to_json(r) FROM ({sql}) AS r" if is_query else sql)
        if answer.returncode:
            raise RuntimeError(f"{sql}: {answer.stderr}")
        return [json.loads(line) for line in answer.stdout.splitlines()] if is_query else []

    def backends(self) -> list[int]:
        """The processes that it has started."""
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # proc(5): the name is in parentheses, and the parent is the second field behind it.
                if int(stat.read_text().rsplit(") ", 1)[1].split()[1]) == self.process.pid:
                    found.append(int(stat.parent.name))
        return found

    def signal(self, which: int) -> None:
        for pid in [self.process.pid, *self.backends()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)

    def crash(self, chance: random.Random) -> None:
        """One of its processes dies: it ends all others, recovers, and goes on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(sorted(self.backends())), signal.SIGKILL)

    def stop(self) -> None:
        # SIGQUIT: at once, with all its processes.
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)


class Folder:
    """A lake in a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.root = folder / "lake"
        self.root.mkdir()
        self.url = str(self.root)
        self.variables: dict[str, str] = {}
        self.options: dict[str, str] = {}
        self.files = fs.LocalFileSystem()

    def path(self, location: str) -> str:
        """Where `files` finds what the server calls so."""
        return location.removeprefix("file://").rstrip("/")

    def stop(self) -> None:
        pass


class S3:
    """A lake on a real S3 server."""

    def __init__(self, folder: pathlib.Path) -> None:
        (folder / "s3").mkdir()
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = free_ports(8)
        key = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "whimbrel", "actions": actions, "credentials": [key]}]}
        (folder / "s3.json").write_text(json.dumps(identities))
        command = [
            "weed", "server", f"-dir={folder / 's3'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=64",
            "-master.telemetry=false", f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=100",
            "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={folder / 's3.json'}",
        ]  # fmt: skip
        with (folder / "s3.log").open("w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        endpoint = f"http://127.0.0.1:{s3}"
        self.url = f"s3://{BUCKET}/lake"
        self.variables = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        self.options = self.variables | {"aws_conditional_put": "etag"}
        self.files = fs.S3FileSystem(
            access_key=ACCESS_KEY, secret_key=SECRET_KEY, endpoint_override=endpoint, region="us-east-1",
            allow_bucket_creation=True,
        )  # fmt: skip
        eventually("the S3 server makes a bucket", self._bucket)

    def _bucket(self) -> bool:
        try:
            self.files.create_dir(BUCKET)
            with self.files.open_output_stream(f"{BUCKET}/ready") as out:
                out.write(b"yes")
            return True
        except OSError:
            return False

    def path(self, location: str) -> str:
        return location.removeprefix("s3://").rstrip("/")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


class Process:
    """A server or a worker. It has a folder of its own, and one log for all its lives."""

    def __init__(self, name: str, folder: pathlib.Path, catalog: str, lake: Folder | S3) -> None:
        self.name = name
        self.is_server = name.startswith("server")
        self.log = folder / f"{name}.log"
        self.port = free_ports(1)[0]
        self.url = f"grpc+tcp://127.0.0.1:{self.port}"
        verb = ["serve", "--flight-addr", f"127.0.0.1:{self.port}"] if self.is_server else ["worker", "--workers", "2"]
        places = ["--data-dir", folder / name, "--catalog", catalog, "--lake", lake.url]
        self.command = [os.environ["WHIMBREL_BIN"], *verb, *places]
        self.folder = folder
        self.environment = environment() | lake.variables | {
            "NO_COLOR": "1",
            "WHIMBREL__REFRESH__LEASE": f"{LEASE:.0f}s",
            "WHIMBREL__REFRESH__TICK": "500ms",
            "WHIMBREL__REFRESH__WORKERS": "2",
            "WHIMBREL__REFRESH__ATTEMPTS_MAX": "100",
            "WHIMBREL__QUERY__MEMORY_MAX": "1GiB",
            "WHIMBREL__LOG__LEVEL": "warn,whimbrel=info,whimbrel_refresh=info,buoyant_kernel=off",
        }  # fmt: skip
        self.process = None
        self.stopped = False

    def start(self, **variables: str) -> None:
        with self.log.open("a") as log:
            log.write(f"--- starts {variables}\n")
            log.flush()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.environment | variables,
            )  # fmt: skip
        self.stopped = False

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, which: int) -> None:
        if self.is_alive():
            self.process.send_signal(which)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> int:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self.process.wait(90)


class Fate:
    """Kills, stops and wakes processes at random moments, and starts again what has died."""

    def __init__(self, processes: list[Process], postgres: Postgres, seed: int) -> None:
        self.processes, self.postgres = processes, postgres
        self.chance = random.Random(seed)
        self.catalog_sleeps_until: float | None = None
        self.counts = {"kills": 0, "stops": 0, "deaths at named points": 0, "orderly restarts": 0, "stops of the catalog": 0, "crashes of the catalog": 0}
        self.over = threading.Event()
        self.to_wake: list[tuple[float, Process, bool]] = []
        self.armed: set[str] = set()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self.thread.start()

    def end(self) -> None:
        """Everybody lives and goes on."""
        self.over.set()
        self.thread.join()
        self.postgres.signal(signal.SIGCONT)
        for process in self.processes:
            if process.stopped:
                process.signal(signal.SIGCONT)
                process.stopped = False
            if process.name in self.armed:
                process.kill()
            if not process.is_alive():
                process.start()

    def _run(self) -> None:
        next_blow = time.monotonic() + 2
        while not self.over.wait(0.1):
            now = time.monotonic()
            self._wake(now)
            for process in self.processes:
                if not process.is_alive():
                    if process.name in self.armed:
                        self.armed.discard(process.name)
                        self.counts["deaths at named points"] += 1
                    process.start()
            if now >= next_blow:
                self._strike(now)
                next_blow = now + self.chance.expovariate(1 / 2)

    def _wake(self, now: float) -> None:
        if self.catalog_sleeps_until is not None and self.catalog_sleeps_until <= now:
            self.catalog_sleeps_until = None
            self.postgres.signal(signal.SIGCONT)
        due = [entry for entry in self.to_wake if entry[0] <= now]
        self.to_wake = [entry for entry in self.to_wake if entry[0] > now]
        for _, process, dies in due:
            process.stopped = False
            if dies:
                process.kill()
                self.counts["kills"] += 1
            else:
                process.signal(signal.SIGCONT)

    def _strike(self, now: float) -> None:
        process = self.chance.choice(self.processes)
        blow = self.chance.random()
        if blow < 0.06:
            if self.catalog_sleeps_until is None:
                self.postgres.signal(signal.SIGSTOP)
                self.catalog_sleeps_until = now + self.chance.uniform(0.2, 1.5) * LEASE
                self.counts["stops of the catalog"] += 1
        elif blow < 0.10:
            if self.catalog_sleeps_until is None:
                self.postgres.crash(self.chance)
                self.counts["crashes of the catalog"] += 1
        elif process.stopped or not process.is_alive():
            return
        elif blow < 0.40:
            process.kill()
            self.armed.discard(process.name)
            self.counts["kills"] += 1
        elif blow < 0.70:
            # Half of them for longer than their leases, so that others take over what they have.
            process.signal(signal.SIGSTOP)
            process.stopped = True
            self.counts["stops"] += 1
            self.to_wake.append((now + self.chance.uniform(0.3, 2.2) * LEASE, process, self.chance.random() < 0.2))
        elif blow < 0.95:
            process.kill()
            self.counts["kills"] += 1
            self.armed.add(process.name)
            process.start(WHIMBREL_CRASH_AT=self.chance.choice(POINTS))
        else:
            # In order: what runs may end, and the next one is there at once.
            process.signal(signal.SIGTERM)
            self.counts["orderly restarts"] += 1
