"""Makes flights.parquet from the file of the npm package: the same rows and values, fewer bytes.

usage: python reencode.py path/to/flights-3m.parquet path/to/airports.csv

Sorted by route and time, distances and airports become a few runs, so that most of the bytes that
are left are departure times and delays. Ends with an error unless both files hold the same rows.
"""

import pathlib
import shutil
import sys

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
ORDER = [(name, "ascending") for name in ("origin", "destination", "date", "delay", "distance")]


def reencode(source: str, target: pathlib.Path) -> None:
    original = pq.read_table(source)
    narrow = pa.schema(
        [
            ("date", pa.timestamp("ms")),
            ("delay", pa.int16()),
            ("distance", pa.int16()),
            ("origin", pa.string()),
            ("destination", pa.string()),
        ]
    )
    # A safe cast: it fails when a value does not fit.
    flights = original.cast(narrow).sort_by(ORDER)
    pq.write_table(
        flights,
        target,
        compression="zstd",
        compression_level=19,
        row_group_size=500_000,
        use_dictionary=["delay", "distance", "origin", "destination"],
        column_encoding={"date": "DELTA_BINARY_PACKED"},
    )
    written = pq.read_table(target).cast(original.schema)
    if not written.sort_by(ORDER).equals(original.sort_by(ORDER)):
        raise SystemExit(f"{target} does not hold the rows of {source}")
    print(f"{target}: {written.num_rows} rows, {target.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    reencode(sys.argv[1], HERE / "flights.parquet")
    shutil.copyfile(sys.argv[2], HERE / "airports.csv")
