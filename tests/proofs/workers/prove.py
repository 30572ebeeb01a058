#!/usr/bin/env python3
"""A run is applied at most once, its output equals its query at the inputs that it has pinned, no lease is held by two, and every
job ends: with real processes that die and stand still at any moment."""

import argparse
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import time

from clients import Storm
from cluster import S3, Fate, Folder, Postgres, Process, eventually
from judge import TRACE, Judge


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="how long the storm takes (3); the judgement takes as long again")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed, the same clients and blows; their times differ")
    parser.add_argument("--lake", choices=("folder", "s3"), default="folder", help="where tables are kept (folder)")
    parser.add_argument("--samples", type=int, default=6, help="runs of each transform and strategy whose version is compared (6)")
    parser.add_argument("--calm", action="store_true", help="nobody dies and nobody stands still")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and lake when something is wrong")
    asked = parser.parse_args()
    # So that whoever ends this also ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # An abort at a named point would leave hundreds of megabytes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(f"seed {asked.seed}, lake {asked.lake}, {asked.minutes} minutes", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="whimbrel-workers."))
    running, processes, storm = [], [], None
    try:
        postgres = Postgres(folder)
        running.append(postgres)
        lake = (S3 if asked.lake == "s3" else Folder)(folder)
        running.append(lake)
        names = ("server-1", "server-2", "worker-1", "worker-2", "worker-3")
        processes = [Process(name, folder, postgres.url, lake) for name in names]
        for process in processes:
            process.start()
        storm = Storm([process for process in processes if process.is_server], lake, asked.seed)
        judge = Judge(storm, postgres, processes, asked.samples)
        eventually("the catalog is there", lambda: has_catalog(postgres))
        postgres.ask(TRACE)
        storm.prepare()
        blow(asked, storm, processes, postgres)
        print("the storm is over", flush=True)
        judge.all()
        for process in processes:
            if process.terminate() != 0:
                storm.books.blame(f"{process.name} did not end in order")
        judge.server_logs()
        return report(storm, judge)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
        for one in reversed(running):
            one.stop()
        if asked.keep and (storm is None or storm.books.wrong):
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def has_catalog(postgres: Postgres) -> bool:
    return bool(postgres.ask("SELECT 1 AS there FROM pg_class WHERE relname = 'verifications'"))


def blow(asked: argparse.Namespace, storm: Storm, processes: list[Process], postgres: Postgres) -> None:
    fate = Fate(processes, postgres, asked.seed)
    storm.begin()
    if not asked.calm:
        fate.begin()
    end, said = time.monotonic() + asked.minutes * 60, time.monotonic()
    while time.monotonic() < end:
        time.sleep(1)
        if time.monotonic() > said + 30:
            said = time.monotonic()
            print(f"  {dict(storm.books.counts)} {fate.counts}", flush=True)
    if not asked.calm:
        fate.end()
    storm.end()
    storm.books.counts.update(fate.counts)


def report(storm: Storm, judge: Judge) -> int:
    print("\ncodes that clients were answered with:")
    for code, times in storm.books.codes.most_common():
        print(f"  {times:5} {code}")
    print("refusals:")
    for text, times in storm.books.refusals.most_common(25):
        print(f"  {times:5} {text}")
    print("counts:")
    for what, times in sorted((storm.books.counts + judge.counts).items()):
        print(f"  {times:6} {what}")
    wrong = storm.books.wrong
    print(f"\nseed {storm.seed}: {len(wrong)} discrepancies")
    for what in wrong[:40]:
        print(f"  {what[:3000]}")
    sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        status = main()
    except SystemExit:
        raise
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 2
    sys.stdout.flush()
    # Connections to servers that were killed are not waited for.
    os._exit(status)
