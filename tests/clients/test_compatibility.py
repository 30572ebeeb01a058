"""docs/compatibility.md is true: ADBC and psycopg answer as their columns say. The other drivers are asked by
tests/proofs/compatibility/run, which writes the page."""

import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "proofs" / "compatibility"))

from adbc_python import Adbc  # noqa: E402
from fixture import servers  # noqa: E402
from matrix import GROUPS  # noqa: E402
from postgres import Psycopg  # noqa: E402

SIGNS = {"yes": "yes", "–": "none", "no": "no"}


def columns():
    """What the page says: a state for each driver, group and case."""
    said, group, drivers = {}, None, []
    for line in (ROOT / "docs" / "compatibility.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif line.startswith("| | "):
            drivers = cells[1:]
        elif line.startswith("| ") and group in GROUPS:
            for driver, cell in zip(drivers, cells[1:]):
                said[driver, group, cells[0]] = SIGNS[cell.split(" ")[0]]
    return said


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with servers(tmp_path_factory.mktemp("compatibility"), []) as place:
        yield place


@pytest.mark.parametrize("runner", [Adbc, Psycopg])
def test_a_driver_answers_as_its_column_says(place, runner):
    said = {(group, case): state for (driver, group, case), state in columns().items() if re.match(runner.driver, driver)}
    found = {(result["group"], result["case"]): result for result in runner(place).report()}
    assert found.keys() == said.keys()
    wrong = [f"{key}: the page says {said[key]}: {result}" for key, result in found.items() if result["state"] != said[key]]
    assert not wrong, "\n".join(wrong)
