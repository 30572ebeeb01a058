"""What has to be true after a storm, looked up without asking the server wherever a stranger can see it."""

import collections
import json
import random
import re
import time

import deltalake
import duckdb
import pyarrow as pa
from pyarrow import fs

import scene
from clients import Storm, Told
from cluster import Postgres, Process, eventually

UNDER_WAY = ("PLANNING", "RUNNING", "COMMITTING")
FINAL = ("SUCCEEDED", "SKIPPED_NO_CHANGE", "FAILED", "CANCELLED", "UPSTREAM_FAILED")
SETTLES_WITHIN = 240
TRACE = """
CREATE TABLE storm_trace (n BIGSERIAL, at BIGINT, job TEXT, object TEXT, kind TEXT, run TEXT, attempt BIGINT, worker TEXT,
  state TEXT, was TEXT, was_attempt BIGINT, was_lease BIGINT, was_run TEXT);
CREATE FUNCTION storm_traces() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO storm_trace (at, job, object, kind, run, attempt, worker, state, was, was_attempt, was_lease, was_run)
  VALUES (extract(epoch FROM clock_timestamp()) * 1000000, NEW.id, NEW.object_name, NEW.kind, NEW.run_id, NEW.attempt, NEW.worker_id,
    NEW.state, OLD.state, OLD.attempt, OLD.lease_until, OLD.run_id);
  RETURN NULL; END $$;
CREATE TRIGGER storm_traces AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION storm_traces();
"""


class Judge:
    def __init__(self, storm: Storm, postgres: Postgres, processes: list[Process], samples: int) -> None:
        self.storm, self.postgres, self.processes, self.samples = storm, postgres, processes, samples
        self.session = storm.session
        self.chance = random.Random(storm.seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.cancelled_late: set[str] = set()
        self.tables: dict[tuple[str, int | None], pa.Table] = {}

    def blame(self, what: str) -> None:
        self.storm.books.blame(what)

    def all(self) -> None:
        steps = (
            self.rest, self.triggers, self.statements, self.verdicts, self.last_refresh, self.books_and_logs, self.leases,
            self.versions, self.graphs, self.ledger, self.keys, self.garbage,
        )  # fmt: skip
        for step in steps:
            began = time.monotonic()
            try:
                step()
            except Exception as error:  # noqa: BLE001
                self.blame(f"{step.__name__}: {type(error).__name__}: {error}")
            print(f"  {step.__name__}: {time.monotonic() - began:.1f} s", flush=True)

    # What a stranger reads.

    def table(self, name: str, version: int | None = None) -> pa.Table:
        """A table as the Python package deltalake reads it."""
        if version is None or (name, version) not in self.tables:
            location = self.storm.locations[name]
            there = deltalake.DeltaTable(location, version=version, storage_options=self.storm.lake.options or None)
            self.tables[name, version] = pa.table(there.to_pyarrow_table())
        return self.tables[name, version]

    def computed(self, query: str, versions: dict[str, int] | None = None) -> tuple[list[str], collections.Counter]:
        """What DuckDB makes of a query over tables at these versions, or at their newest ones."""
        with duckdb.connect() as duck:
            for name in set(re.findall(r"\bw\.(\w+)", query)):
                # A run that is older than the flow `more` has read nothing of its source.
                known = versions is None or name in versions
                table = self.table(name, versions[name] if versions and known else None)
                duck.register(f"w_{name}", table if known else table.slice(0, 0))
            found = duck.execute(re.sub(r"\bw\.", "w_", query))
            columns = [column[0] for column in found.description]
            return columns, collections.Counter(found.fetchall())

    def compare(self, what: str, transform: scene.Transform, version: int | None, inputs: dict[str, int] | None, where: str = "") -> None:
        columns, expected = self.computed(f"SELECT * FROM ({transform.expected}) {where}", inputs)
        held = f'SELECT {", ".join(f"{chr(34)}{column}{chr(34)}" for column in columns)} FROM w.{transform.name} {where}'
        _, rows = self.computed(held, {transform.name: version} if version is not None else None)
        self.counts["comparisons with DuckDB"] += 1
        if rows != expected:
            more, less = list((rows - expected).items())[:4], list((expected - rows).items())[:4]
            self.blame(f"{what}: w.{transform.name} at {version} of {inputs} {where}: has {more}, lacks {less}")

    # The promises.

    def rest(self) -> None:
        """Every job ends."""
        for transform in scene.TRANSFORMS:
            if transform.wakes.startswith("SCHEDULE"):
                self.session.must(f"ALTER {transform.kind} w.{transform.name} DROP SCHEDULE")
        quiet = {"since": None}

        def is_quiet() -> bool:
            is_open = self.postgres.ask(f"SELECT id FROM jobs WHERE state NOT IN {FINAL} LIMIT 1")
            quiet["since"] = None if is_open else quiet["since"] or time.monotonic()
            return quiet["since"] is not None and time.monotonic() > quiet["since"] + 4

        try:
            eventually("every job has ended", is_quiet, SETTLES_WITHIN)
        except TimeoutError as late:
            self.blame(f"{late}: {self.postgres.ask(f'SELECT * FROM jobs WHERE state NOT IN {FINAL}')}")
        for row in self.postgres.ask("SELECT state, count(*) AS n FROM jobs GROUP BY state"):
            self.counts[f"jobs {row['state']}"] = row["n"]
        why = "SELECT object_name, error FROM jobs WHERE state = 'FAILED'"
        for row in self.postgres.ask(why):
            self.storm.books.refusals["job: " + re.sub(r"[0-9a-f]{8}-[-0-9a-f]+|\d+", "N", row["error"])[:160]] += 1

    def triggers(self) -> None:
        """What a trigger watches has been taken up, whoever died with the news."""
        for transform in scene.TRANSFORMS:
            if transform.wakes.startswith("TRIGGER"):
                self.compare("after its trigger", transform, None, None)

    def statements(self) -> None:
        """What was acknowledged is there once, what was refused is not, and nothing is there in part."""
        found: dict[str, dict[int, list[tuple]]] = {}
        for name in scene.SOURCES:
            rows = found.setdefault(name, {})
            key = "seq" if name == "cdc" else "k" if name == "dims" else "id"
            columns = [key, *(column for column in self.table(name).column_names if column != key)]
            for row in zip(*(self.table(name)[column].to_pylist() for column in columns), strict=True):
                rows.setdefault(row[0], []).append(row[1:])
        for group in self.storm.groups():
            width = 1 if group.table == "dims" else 10
            rows = {key: found[group.table].pop(key) for key in range(group.first, group.first + width) if key in found[group.table]}
            held = {key: listed[0] for key, listed in rows.items()}
            self.counts["groups of rows looked up"] += 1
            self.counts["groups of rows with an unknown outcome"] += not group.is_known
            if held not in group.may_be or any(len(listed) > 1 for listed in rows.values()):
                told = "\n    ".join(group.what)
                self.blame(f"{group.table}: is {rows}, may be {group.may_be}, after\n    {told}")
        for name, rows in found.items():
            if rows:
                self.blame(f"nobody wrote these rows of {name}: {list(rows.items())[:5]}")

    def verdicts(self) -> None:
        for transform in scene.TRANSFORMS:
            if not transform.is_view:
                continue
            verdict = self.session.must(f"VERIFY w.{transform.name}")[0]
            self.counts["verifications"] += 1
            if verdict[2] != "EQUAL":
                self.blame(f"VERIFY w.{transform.name}: {verdict}")

    def last_refresh(self) -> None:
        """Everything is brought up to date, and is what the sources say."""
        for transform in scene.TRANSFORMS:
            self.session.must(f"REFRESH {transform.kind} w.{transform.name} SYNC TIMEOUT 1 MINUTE")
        for transform in scene.TRANSFORMS:
            self.compare("at the end", transform, None, None)
        for name, expected in scene.ASIDE.items():
            _, right = self.computed(expected)
            rows = collections.Counter((row[0],) for row in self.session.must(f"SELECT id FROM QUARANTINE(w.{name})"))
            if rows != right:
                self.blame(f"quarantine of w.{name}: has {list((rows - right).items())[:5]}, lacks {list((right - rows).items())[:5]}")

    def log(self, location: str) -> dict[int, list[dict]]:
        """The entries of a Delta log, as they are stored."""
        files, path = self.storm.lake.files, self.storm.lake.path(location)
        entries = {}
        for info in files.get_file_info(fs.FileSelector(f"{path}/_delta_log")):
            if found := re.fullmatch(r"(\d{20})\.json", info.base_name):
                with files.open_input_stream(info.path) as stream:
                    entries[int(found.group(1))] = [json.loads(line) for line in stream.read().decode().splitlines() if line]
        return dict(sorted(entries.items()))

    def books_and_logs(self) -> None:
        """Each run is in the log of its table at most once, and just those that the books say."""
        sql = (
            "SELECT r.run_seq, r.state, r.output_version, r.attempt, r.id FROM runs r JOIN jobs j ON j.id = r.job_id"
            " WHERE j.object_name = '{}' AND j.kind = 'REFRESH' ORDER BY r.run_seq"
        )
        for transform in scene.TRANSFORMS:
            log = self.log(self.storm.locations[transform.name])
            if list(log) != list(range(len(log))):
                self.blame(f"versions of w.{transform.name}: {list(log)}")
            committed: list[tuple[int, int]] = []
            for version, actions in log.items():
                for action in actions:
                    app = action.get("txn", {}).get("appId", "")
                    if re.fullmatch(r"whimbrel:[-0-9a-f]+", app):
                        committed.append((action["txn"]["version"], version))
            self.counts["commits of runs"] += len(committed)
            if [seq for seq, _ in committed] != sorted({seq for seq, _ in committed}):
                self.blame(f"runs in the log of w.{transform.name} are there twice or not in their order: {committed}")
            books = {row["run_seq"]: row for row in self.postgres.ask(sql.format(transform.name))}
            for seq, version in committed:
                row = books.get(seq)
                if row is not None and row["state"] == "CANCELLED" and row["attempt"] > 1:
                    # Cancelled between the death of the attempt that committed and the next look at the log: what it
                    # made is there, and the next run replaces it.
                    self.cancelled_late.add(transform.name)
                    self.counts["commits of runs that were cancelled afterwards"] += 1
                    continue
                if row is None or row["state"] != "SUCCEEDED" or row["output_version"] != version:
                    self.blame(f"w.{transform.name}: the log has run {seq} at version {version}, the books {row}")
            in_log = dict(committed)
            for seq, row in books.items():
                self.counts["runs"] += 1
                self.counts["runs that were taken over"] += row["attempt"] > 1
                if row["state"] == "SUCCEEDED" and in_log.get(seq) != row["output_version"]:
                    self.blame(f"w.{transform.name}: the books have {row}, the log {in_log.get(seq)}")

    def leases(self) -> None:
        """Who had which job when, as the database saw it."""
        owners: dict[tuple, set] = {}
        under_way: dict[str, set] = {}
        for row in self.postgres.ask("SELECT * FROM storm_trace ORDER BY n"):
            self.counts["moves of jobs"] += 1
            job, works = row["job"], row["state"] in UNDER_WAY
            if works:
                owners.setdefault((row["run"], row["attempt"]), set()).add(row["worker"])
            # RETRY queues a job again, and brings the BACKFILL along whose range it is.
            retried = row["state"] == "QUEUED" or row["kind"] == "BACKFILL"
            if row["was"] in FINAL and row["state"] != row["was"] and not retried:
                self.blame(f"a job that had ended moved: {row}")
            was_taken = row["was"] in UNDER_WAY and works and row["attempt"] != row["was_attempt"]
            if was_taken and row["was_run"] == row["run"]:
                self.counts["leases that ran out and were taken"] += 1
                if row["was_lease"] > row["at"]:
                    self.blame(f"a lease was taken before it ran out: {row}")
            if row["kind"] != "BACKFILL":
                jobs = under_way.setdefault(row["object"], set())
                (jobs.add if works else jobs.discard)(job)
                if len(jobs) > 1:
                    self.blame(f"two jobs of one object are under way: {jobs}: {row}")
        for attempt, workers in owners.items():
            if len(workers) > 1:
                self.blame(f"an attempt was held by several: {attempt}: {workers}")

    def finished_runs(self) -> list[dict]:
        return self.postgres.ask(
            "SELECT r.id, j.object_name AS name, j.kind, j.arguments, j.graph_id, r.output_version, r.strategy, r.reason, r.report"
            " FROM runs r JOIN jobs j ON j.id = r.job_id WHERE r.state = 'SUCCEEDED' AND j.kind = 'REFRESH'"
            " ORDER BY r.started_at"
        )

    def inputs(self) -> dict[str, dict[str, int]]:
        """The versions that each run has pinned."""
        found: dict[str, dict[str, int]] = {}
        for row in self.postgres.ask("SELECT run_id, object_name, version FROM run_inputs"):
            found.setdefault(row["run_id"], {})[row["object_name"]] = row["version"]
        return found

    def versions(self) -> None:
        """The table at a version that a run has made is its query at the versions that the run has pinned."""
        pinned = self.inputs()
        runs = [run for run in self.finished_runs() if run["name"] in scene.BY_NAME]
        for run in runs:
            self.counts[f"runs by {run['strategy']}"] += 1
        by_kind: dict[tuple, list[dict]] = {}
        for run in runs:
            by_kind.setdefault((run["name"], run["strategy"]), []).append(run)
        sample = [run for some in by_kind.values() for run in self.chance.sample(some, min(len(some), self.samples))]
        for run in sample:
            part = json.loads(run["report"] or "{}").get("part")
            where = f"WHERE {part['condition']}" if run["strategy"] == "PART" else ""
            what = f"run {run['id']} ({run['strategy']}, {run['reason']})"
            self.compare(what, scene.BY_NAME[run["name"]], run["output_version"], pinned[run["id"]], where)

    def graphs(self) -> None:
        """Jobs of one graph run read each input at one version."""
        pinned = self.inputs()
        graphs: dict[str, dict[str, set]] = {}
        for run in self.finished_runs():
            if run["graph_id"]:
                for name, version in pinned.get(run["id"], {}).items():
                    graphs.setdefault(run["graph_id"], {}).setdefault(name, set()).add(version)
        for graph, names in graphs.items():
            self.counts["graph runs"] += 1
            for name, versions in names.items():
                if len(versions) > 1:
                    self.blame(f"graph run {graph} read w.{name} at {versions}")

    def ledger(self) -> None:
        """Rows in are rows out, dropped and quarantined; and no event was read twice."""
        columns = "object, strategy, rows_in, rows_written, rows_dropped, rows_quarantined, run_id"
        read = 0
        for row in self.session.must(f"SELECT {columns} FROM system.runs WHERE state = 'SUCCEEDED' AND rows_in IS NOT NULL"):
            name, strategy, came, written, dropped, aside, run = row
            self.counts["ledgers"] += 1
            if strategy in ("FULL", "APPEND") and came != written + (dropped or 0) + (aside or 0):
                self.blame(f"the ledger of {run} ({name}, {strategy}) does not balance: {row}")
            if name == "w.taken":
                read += came
        events = self.table("events").num_rows + self.table("events2").num_rows
        if read != events and "taken" not in self.cancelled_late:
            self.blame(f"the runs of w.taken have read {read} rows of {events}")

    def keys(self) -> None:
        """A request that was sent again has queued nothing more."""
        jobs = collections.Counter(row["request_key"] for row in self.postgres.ask("SELECT request_key FROM job_keys"))
        for client in self.storm.clients:
            for key, (name, told) in getattr(client, "keys", {}).items():
                self.counts["idempotency keys"] += 1
                if jobs[key] > 1 or (told is Told.DONE and jobs[key] != 1):
                    self.blame(f"key '{key}' of w.{name}, {told.value}: {jobs[key]} jobs")

    def garbage(self) -> None:
        """Nothing is wrong with a table but files that nobody names, and VACUUM deletes those."""
        for name in [*scene.SOURCES, *scene.BY_NAME]:
            for found in self.session.must(f"VALIDATE TABLE w.{name}"):
                self.judge_finding(name, found, ("ok", "notice", "orphans"))
            self.session.must(f"VACUUM w.{name} FULL")
            for found in self.session.must(f"VALIDATE TABLE w.{name}"):
                self.judge_finding(name, found, ("ok", "notice"))

    def judge_finding(self, name: str, found: tuple, fine: tuple) -> None:
        severity, check, *_ = found
        self.counts["findings of VALIDATE"] += 1
        is_orphan = check == "orphans" and severity != "ok"
        if is_orphan:
            self.counts["orphan files"] += 1
        if is_orphan and "orphans" in fine:
            return
        if severity not in fine or is_orphan:
            self.blame(f"VALIDATE w.{name}: {found}")

    def server_logs(self) -> None:
        """Nobody panicked, and nothing was a defect of the server."""
        for process in self.processes:
            for line in process.log.read_text(errors="replace").splitlines():
                if "panicked" in line or " ERROR " in line:
                    self.blame(f"{process.name}: {line[:500]}")
