#!/usr/bin/env python3
"""Whimbrel and Spark on the same Delta tables: each reads and changes what the other wrote.

    run                     every case
    run deletion mapping    those with one of these in their names
"""

import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients"))

import ours
import theirs
from engines import Spark, Whimbrel
from proof import Different, Proof
from server import Server


def main() -> int:
    # So that whoever ends this also ends the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = sys.argv[1:]
    began = time.monotonic()
    failures = []
    with tempfile.TemporaryDirectory(prefix="whimbrel-spark.") as folder:
        folder = pathlib.Path(folder)
        spark = Spark(folder)
        server = Server(folder).start()
        try:
            with server.connect() as connection, connection.cursor() as cursor:
                whimbrel = Whimbrel(cursor, server.data_dir / "lake")
                for module in (ours, theirs):
                    for name, case in vars(module).items():
                        if not name.startswith("case_") or (wanted and not any(word in name for word in wanted)):
                            continue
                        proof = Proof(name.removeprefix("case_"), whimbrel, spark)
                        print(f"\n{proof.name}: {case.__doc__.splitlines()[0]}", flush=True)
                        try:
                            case(proof)
                        except Different as different:
                            failures.append(proof.name)
                            print(f"  DIFFERENT: {different}", flush=True)
                        except Exception:
                            failures.append(proof.name)
                            print("  FAILED:", traceback.format_exc(limit=-2, chain=False)[:3000], flush=True)
                        failures.extend([proof.name] * proof.wrong)
                        shutil.rmtree(whimbrel.lake / proof.name, ignore_errors=True)
        finally:
            spark.stop()
            server.stop()
    print(f"\n{time.monotonic() - began:.0f} s; failures: {', '.join(failures) or 'none'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
