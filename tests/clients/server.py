"""The real server as a process."""

import os
import pathlib
import re
import subprocess
import threading

import adbc_driver_flightsql.dbapi as flight_sql

READY = re.compile(r"listening on (grpc\S*://\S+)")
READY_POSTGRES = re.compile(r"listening on postgres://(\S+):(\d+)")
CONFIGURES = ("WHIMBREL", "AWS_", "AZURE_", "GOOGLE_")


def binary() -> str:
    root = pathlib.Path(__file__).resolve().parents[2]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    path = os.environ.get("WHIMBREL_BIN", str(target / "debug" / "whimbrel"))
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no binary at {path}: run `cargo build` first, or set WHIMBREL_BIN")
    return path


class Server:
    """The server as a process in a folder of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(CONFIGURES)}
        self.process = None
        self.url = None
        self.postgres = None
        self.log = []

    def add_user(self, name: str, password: str) -> None:
        command = [binary(), "user", "add", name, "--password-stdin", "--data-dir", self.data_dir]
        subprocess.run(
            command, input=password + "\n", text=True, check=True, cwd=self.folder, env=self.environment
        )

    def add_user_without_password(self, name: str) -> None:
        command = [binary(), "user", "add", name, "--no-password", "--data-dir", self.data_dir]
        subprocess.run(command, check=True, cwd=self.folder, env=self.environment)

    def start(self, *arguments: str) -> "Server":
        self.process = subprocess.Popen(
            [binary(), "serve", "--data-dir", self.data_dir, "--flight-addr", "127.0.0.1:0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(ready,), daemon=True).start()
        assert ready.wait(120), "the server says nothing"
        assert self.url, "the server did not start:\n" + "".join(self.log)
        return self

    def _read(self, ready: threading.Event) -> None:
        for line in self.process.stdout:
            self.log.append(line)
            if found := READY_POSTGRES.search(line):
                self.postgres = {"host": found.group(1), "port": int(found.group(2))}
            if found := READY.search(line):
                self.url = found.group(1)
                ready.set()
        ready.set()

    def connect(self, user: str | None = None, password: str | None = None, **options):
        db_kwargs = dict(options)
        if user is not None:
            db_kwargs |= {"username": user, "password": password}
        return flight_sql.connect(self.url.replace("grpc://", "grpc+tcp://"), db_kwargs=db_kwargs, autocommit=True)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        status = self.process.wait(60)
        assert status == 0, f"ended with {status}:\n" + "".join(self.log)
