"""dbt's own tests of an adapter. `run`, beside the folder, starts the server that WHIMBREL_TEST_PORT is the port of."""

import os

import pytest

pytest_plugins = ["dbt.tests.fixtures.project"]


@pytest.fixture(scope="class")
def dbt_profile_target():
    return {"type": "whimbrel", "host": "127.0.0.1", "port": int(os.environ["WHIMBREL_TEST_PORT"]), "threads": 2}
