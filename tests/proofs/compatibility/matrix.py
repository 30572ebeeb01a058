"""Asks drivers for every case and keeps docs/compatibility.md, which is written from what they answer.

    matrix.py cases FILE               writes the cases as lines for the runners in Java and Go
    matrix.py ask MODULE …             asks the drivers of a module in Python
    matrix.py lines DRIVER FILE        takes the lines that a runner in Java or Go printed
    matrix.py write                    writes the page from all answers that there are

Answers are kept in the folder of WHIMBREL_MATRIX, and servers are where WHIMBREL_MATRIX_PLACE says, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys
import tomllib

from cases import HERE, Place, binds, load, reads

PAGE = HERE.parents[2] / "docs" / "compatibility.md"
GROUPS = ["Types, read", "Types, as parameters", "Statements", "Metadata", "Sessions"]
SIGNS = {"yes": "yes", "none": "–"}


def place() -> Place:
    return Place(**json.loads(os.environ["WHIMBREL_MATRIX_PLACE"]))


def answers() -> pathlib.Path:
    folder = pathlib.Path(os.environ["WHIMBREL_MATRIX"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep(results: list[dict]) -> None:
    first = results[0]
    name = f"{first['driver']} {first['version']}".replace(" ", "_").replace(",", "")
    (answers() / f"{name}.json").write_text(json.dumps(results, indent=1))


def questions() -> list[tuple[str, dict]]:
    cases = load()
    asked = [("Types, read", case) for case in reads(cases)]
    asked += [("Types, as parameters", case) for case in binds(cases)]
    return asked + [(case["group"], case) for case in cases["command"]]


def write_cases(file: str) -> None:
    keys = ("name", "kind", "sql", "value", "store")
    lines = ["\t".join([group, *(case.get(key, "") for key in keys)]) for group, case in questions()]
    pathlib.Path(file).write_text("\n".join(lines) + "\n")


def take_lines(driver: str, file: str) -> None:
    lines = [line.split("\t") for line in pathlib.Path(file).read_text().splitlines()]
    version = next(line[1] for line in lines if line[0] == "version")
    results = [
        {"driver": driver, "version": version, "group": group, "case": case, "state": state, "text": text}
        for group, case, state, text in (line for line in lines if len(line) == 4)
    ]
    assert len(results) == len(questions()), f"{driver}: {len(results)} answers to {len(questions())} cases"
    keep(results)


def ask(modules: list[str]) -> None:
    for module in modules:
        for runner in importlib.import_module(module).RUNNERS:
            keep(runner(place()).report())


class Holes:
    """Why something does not work: holes.toml, and nothing may be left that it does not explain, nor explain in vain."""

    def __init__(self) -> None:
        self.known = tomllib.loads((HERE / "holes.toml").read_text()).get("hole", [])
        self.used: list[int] = []
        self.found: set[tuple[int, str]] = set()
        self.unexplained: list[dict] = []

    def number(self, result: dict) -> str:
        for n, hole in enumerate(self.known):
            column = f"{result['driver']} {result['version']}"
            fits = any(column.startswith(driver) for driver in hole["drivers"])
            if fits and result["case"] in hole["cases"] and result["group"] in hole.get("groups", GROUPS):
                self.found.add((n, result["case"]))
                if n not in self.used:
                    self.used.append(n)
                return str(self.used.index(n) + 1)
        self.unexplained.append(result)
        return "?"

    def footnotes(self) -> list[str]:
        whose = {"driver": "The driver's", "ours": "**Ours**", "both": "Both"}
        return [
            f"{number}. {whose[self.known[n]['whose']]}: {self.known[n]['why']}" for number, n in enumerate(self.used, start=1)
        ]


def page() -> tuple[str, list[str]]:
    columns: dict[str, dict[tuple[str, str], dict]] = {}
    for file in sorted(answers().glob("*.json")):
        for result in json.loads(file.read_text()):
            column = f"{result['driver']} {result['version']}"
            columns.setdefault(column, {})[result["group"], result["case"]] = result
    order = tomllib.loads((HERE / "holes.toml").read_text())["columns"]
    names = sorted(columns, key=lambda name: ([name.startswith(prefix) for prefix in order] + [True]).index(True))
    holes, text = Holes(), [HEAD]
    for group in GROUPS:
        text.append(f"## {group}\n")
        text.append("| | " + " | ".join(names) + " |")
        text.append("|---" * (len(names) + 1) + "|")
        for of, case in questions():
            if of != group:
                continue
            cells = []
            for name in names:
                result = columns[name][group, case["name"]]
                cells.append(SIGNS.get(result["state"]) or f"no [{holes.number(result)}](#why)")
            text.append(f"| {case['name']} | {' | '.join(cells)} |")
        text.append("")
    text += ["## Why", "", *holes.footnotes(), ""]
    wrong = [f"{r['driver']} {r['version']}: {r['group']}: {r['case']}: {r['text']}" for r in holes.unexplained]
    for n, hole in enumerate(holes.known):
        present = any(name.startswith(driver) for name in names for driver in hole["drivers"])
        closed = [case for case in hole["cases"] if (n, case) not in holes.found]
        if closed and present:
            wrong.append(f"holes.toml explains what works: {closed} of {hole['drivers']}")
    return "\n".join(text), wrong


HEAD = """# Compatibility

What each driver was asked, and whether the answer was right: **yes**; **no**, with the reason below; **–** where the driver has no such call. The page is written by
`tests/proofs/compatibility/run` from what real drivers answer to `tests/proofs/compatibility/cases.toml`; that of Python is also a part of `tests/run`. How to connect is in
[clients.md](clients.md).

A type is read from a query; as a parameter it is bound, stored, found by its value and read. ADBC in Go, R and C is the driver that the Python package contains.
"""


def main(command: str, *arguments: str) -> None:
    match command:
        case "cases":
            write_cases(*arguments)
        case "ask":
            ask(list(arguments))
        case "lines":
            take_lines(*arguments)
        case "write":
            text, wrong = page()
            PAGE.write_text(text)
            if wrong:
                sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
