"""What the Python package deltalake needs for the same work: prints seconds and peak megabytes."""

import resource
import sys
import time

from deltalake import DeltaTable, write_deltalake


def write(file, place):
    import pyarrow.dataset

    rows = pyarrow.dataset.dataset(file).scanner(batch_size=65536).to_reader()
    write_deltalake(place, rows)


def merge(target, source):
    rows = DeltaTable(source).to_pyarrow_table()
    keys = "t.l_orderkey = s.l_orderkey AND t.l_linenumber = s.l_linenumber"
    merging = DeltaTable(target).merge(rows, keys, source_alias="s", target_alias="t")
    new = {"l_quantity": "s.l_quantity", "l_comment": "s.l_comment"}
    merging.when_matched_update(new).execute()


start = time.monotonic()
{"write": write, "merge": merge}[sys.argv[1]](*sys.argv[2:])
spent = time.monotonic() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(spent, peak)
