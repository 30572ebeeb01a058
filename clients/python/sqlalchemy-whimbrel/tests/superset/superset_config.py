"""Superset for the test: everything in one folder, nothing that a test has not got."""

import os

SECRET_KEY = "a key of this test, that nothing else has"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{os.environ['SUPERSET_TEST_FOLDER']}/superset.db?check_same_thread=false"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
