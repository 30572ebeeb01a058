"""Starts servers, has every driver asked, runs the recipes in Go and Java, and writes docs/compatibility.md."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from cases import Place
from fixture import servers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]

TARGET = pathlib.Path(os.environ["WHIMBREL_MATRIX_TARGET"])
FLIGHT_JDBC = ["15.0.2", "16.1.0", "17.0.0", "18.0.0", "18.3.0"]
POSTGRES_JDBC = ["42.7.4"]
PYTHON = ["adbc_python", "flightsql_dbapi", "postgres", "asyncpg_python"]
JVM = ["--add-opens=java.base/java.nio=ALL-UNNAMED", "-Duser.timezone=Europe/Berlin", "-Dfile.encoding=UTF-8"]

SHOP = re.search(r"```sql\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL).group(1)


def run(*command: str, **options) -> str:
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, timeout=600, check=True, **options)
    return done.stdout


def matrix(*arguments: str) -> None:
    subprocess.run([sys.executable, "-B", HERE / "matrix.py", *map(str, arguments)], check=True, timeout=600)


def go(place: Place, cases: pathlib.Path, plan: str) -> None:
    print("== Go", flush=True)
    program = TARGET / "go-runner"
    run("go", "build", "-o", program, ".", cwd=HERE / "go")
    lines = TARGET / "go.txt"
    lines.write_text(run(program, cases, place.flight, place.tls_flight, place.authority, plan))
    matrix("lines", "arrow-go", lines)
    (text,) = recipes("go")
    folder = TARGET / "go-recipe"
    folder.mkdir(exist_ok=True)
    (folder / "main.go").write_text(text.replace("127.0.0.1:32010", place.flight))
    for name in ("go.mod", "go.sum"):
        (folder / name).write_text((HERE / "go" / name).read_text())
    run("go", "mod", "tidy", cwd=folder)
    expect(run("go", "run", ".", cwd=folder), "Ada 2\nGrace 1\n")


def jar(group: str, artifact: str, version: str) -> pathlib.Path:
    found = TARGET / f"{artifact}-{version}.jar"
    if not found.exists():
        where = [f"-Dartifact={group}:{artifact}:{version}", f"-DoutputDirectory={TARGET}"]
        run("mvn", "--quiet", "--batch-mode", "dependency:copy", *where)
    return found


def jdbc(place: Place, cases: pathlib.Path) -> None:
    run("javac", "-encoding", "UTF-8", "-d", TARGET / "classes", HERE / "Jdbc.java")
    (text,) = recipes("java")
    folder = TARGET / "java-recipe"
    folder.mkdir(exist_ok=True)
    source = text.replace("127.0.0.1:32010", place.flight)
    (folder / "Orders.java").write_text(source)
    ca = place.authority
    for version in FLIGHT_JDBC:
        print(f"== JDBC, Flight SQL {version}", flush=True)
        classpath = f"{TARGET / 'classes'}:{jar('org.apache.arrow', 'flight-sql-jdbc-driver', version)}"
        url = f"jdbc:arrow-flight-sql://{place.flight}/?useEncryption=false"
        tls = f"jdbc:arrow-flight-sql://{place.tls_flight}/?useEncryption=true&tlsRootCerts={ca}"
        lines = TARGET / f"jdbc-{version}.txt"
        schema = url + "&schema=compat_schema"
        lines.write_text(run("java", *JVM, "-cp", classpath, "Jdbc", cases, url, tls, schema, stderr=subprocess.DEVNULL))
        matrix("lines", "flight-sql-jdbc-driver", lines)
    expect(run("java", *JVM, "-cp", classpath, folder / "Orders.java"), "1 12.50\n3 7.25\n")
    for version in POSTGRES_JDBC:
        print(f"== JDBC, PostgreSQL {version}", flush=True)
        classpath = f"{TARGET / 'classes'}:{jar('org.postgresql', 'postgresql', version)}"
        url = f"jdbc:postgresql://{place.postgres}/whimbrel?user=ada"
        tls = f"jdbc:postgresql://{place.tls_postgres}/whimbrel?sslmode=verify-full&sslrootcert={ca}"
        lines = TARGET / f"pgjdbc-{version}.txt"
        lines.write_text(run("java", *JVM, "-cp", classpath, "Jdbc", cases, url, tls, url + "&currentSchema=compat_schema"))
        matrix("lines", "pgjdbc", lines)
    flight = f"jdbc:arrow-flight-sql://{place.flight}/?useEncryption=false"
    (folder / "Orders.java").write_text(source.replace(flight, f"jdbc:postgresql://{place.postgres}/whimbrel?user=ada"))
    expect(run("java", "-cp", classpath, folder / "Orders.java"), "1 12.50\n3 7.25\n")


def recipes(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / "clients.md").read_text(), re.MULTILINE | re.DOTALL)


def expect(printed: str, expected: str) -> None:
    if printed != expected:
        sys.exit(f"a recipe of docs/clients.md printed\n{printed}instead of\n{expected}")


def main(which: list[str]) -> None:
    shop = SHOP.strip().removesuffix(";").split(";\n")
    with tempfile.TemporaryDirectory(prefix="whimbrel-compatibility.") as scratch, servers(pathlib.Path(scratch), shop) as place:
        os.environ["WHIMBREL_MATRIX_PLACE"] = json.dumps(dataclasses.asdict(place))
        os.environ["WHIMBREL_MATRIX"] = str(TARGET / "answers")
        cases = TARGET / "cases.txt"
        matrix("cases", cases)
        if "python" in which:
            for module in PYTHON:
                print(f"== {module}", flush=True)
                matrix("ask", module)
        if "go" in which:
            from substrait import PLAN

            go(place, cases, PLAN.hex())
        if "java" in which:
            jdbc(place, cases)
    matrix("write")


if __name__ == "__main__":
    main(sys.argv[1:] or ["python", "go", "java"])
