"""A real server for each test, and the real ADBC driver as its client."""

import pytest
from server import Server


@pytest.fixture
def stopped(tmp_path):
    """A server that a test starts itself."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def location(stopped):
    """A place outside the lake that the server may use; ask for it before the server starts."""
    folder = stopped.folder / "shared"
    folder.mkdir()
    stopped.environment["WHIMBREL__LAKE__LOCATIONS"] = str(folder)
    return str(folder / "t")


@pytest.fixture
def server(stopped):
    return stopped.start()


@pytest.fixture
def connection(server):
    with server.connect() as connection:
        yield connection


@pytest.fixture
def cursor(connection):
    with connection.cursor() as cursor:
        yield cursor
