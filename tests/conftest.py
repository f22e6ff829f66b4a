"""What all tests share: real servers, and what is said at the end."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.closing", "tests.servers.fixtures", "tests.snowflake.fixtures"]

settings.register_profile("no deadlines", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadlines")
