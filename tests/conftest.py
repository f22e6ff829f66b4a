"""What all tests share: real servers, and what is said at the end."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from state import masking

pytest_plugins = ["tests.closing", "tests.servers.fixtures", "tests.snowflake.fixtures"]

settings.register_profile("no deadlines", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadlines")

os.environ.pop("COLUMNS", None)  # pytest-xdist narrows the terminal of its workers, and so of every command


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch):
    """What one test reads as a secret is not hidden from another."""
    monkeypatch.setattr(masking, "_known", masking._known.copy())
    monkeypatch.setattr(masking, "_sought", masking._sought)
