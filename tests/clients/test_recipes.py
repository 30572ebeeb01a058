"""The recipes of docs/clients.md, as they stand there: SQL, Python and psql. Those in Go and Java are run by
tests/proofs/compatibility/run, which has a compiler for them."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import trustme
from server import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "clients.md"
PACKAGE = ROOT / "clients" / "python" / "sqlalchemy-whimbrel" / "src"
BLOCK = re.compile(r"^(?:<!-- docs-test: (?P<told>.*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(found["language"], found["told"], found["text"]) for found in BLOCK.finditer(PAGE.read_text())]
PSQL = os.environ.get("WHIMBREL_TEST_PSQL") or shutil.which("psql") or "psql"


def blocks(language, told=None):
    return [text for of, what, text in BLOCKS if (of, what) == (language, told)]


def placed(text, server):
    """The recipe with the places of this server."""
    flight = server.url.split("://")[1]
    postgres = server.postgres
    text = text.replace("127.0.0.1:32010", flight).replace("localhost:32010", f"localhost:{flight.split(':')[1]}")
    return text.replace("port=5432", f"port={postgres['port']}").replace("-p 5432", f"-p {postgres['port']}")


def python(text, folder):
    """Runs a recipe as a program of its own."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1", "POLARS_MAX_THREADS": "2"}
    register = (
        "from sqlalchemy.dialects import registry\n"
        "registry.register('whimbrel', 'sqlalchemy_whimbrel.dialect', 'WhimbrelDialect')\n"
    )
    text = register + text if "sqlalchemy" in text else text
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, env=environment, cwd=folder)
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("recipes")).start("--pg-addr", "127.0.0.1:0")
    with server.connect() as connection, connection.cursor() as cursor:
        (sql,) = blocks("sql")
        for statement in sql.strip().removesuffix(";").split(";\n"):
            cursor.execute(statement)
    yield server
    server.stop()


# What a recipe prints, or leaves in a table, by the module that it is about.
EXPECTED = {
    "pyarrow": ('["Ada"]', "SELECT sum(pages) FROM shop.visits", 8),
    "pandas": ("", "SELECT count(*) FROM shop.spent WHERE customer = 'Ada' AND amount = 19.75", 1),
    "polars": ("", "SELECT sum(orders) FROM shop.by_day", 3),
    "duckdb": ("Grace", "SELECT sum(square) FROM shop.squares", 332833500),
    "sqlalchemy": ("Decimal('99.00')", "SELECT count(*) FROM shop.orders WHERE customer IN ('Emmy', 'Rosa')", 2),
    "psycopg": ("Decimal('7.25')", "SELECT count(*) FROM shop.orders WHERE customer = 'Sofja'", 1),
}


def about(text):
    return next(module for module in EXPECTED if re.search(f"^import {module}", text, re.MULTILINE))


def test_each_recipe_is_about_something_else():
    assert {about(text) for text in blocks("python")} == EXPECTED.keys()


@pytest.mark.parametrize("text", blocks("python"), ids=about)
def test_a_recipe_in_python_does_what_it_says(shop, tmp_path, text):
    printed, sql, expected = EXPECTED[about(text)]
    assert printed in python(placed(text, shop), tmp_path).replace("\n      ", "").replace("[[", "[").replace("    ", "")
    with shop.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.fetchone() == (expected,)


def test_a_recipe_with_users_and_tls_logs_in(stopped, tmp_path):
    issued = trustme.CA().issue_cert("localhost")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    issued.private_key_pem.write_to_path(key)
    for pem in issued.cert_chain_pems:
        pem.write_to_path(cert, append=True)
    stopped.environment |= {"WHIMBREL__SERVER__TLS_CERT": str(cert), "WHIMBREL__SERVER__TLS_KEY": str(key)}
    stopped.add_user("ada", "secret")
    stopped.start("--pg-addr", "127.0.0.1:0")
    (text,) = blocks("python", "users")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", python(placed(text, stopped), tmp_path))


@pytest.mark.parametrize(("number", "expected"), [(0, "3"), (1, "orders")])
def test_a_line_for_psql_is_answered(shop, number, expected):
    (text,) = blocks("console")
    line = placed(text, shop).splitlines()[number].removeprefix("$ psql ")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    done = subprocess.run(f"'{PSQL}' -X {line}", shell=True, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0 and expected in done.stdout, done.stderr
