"""A real browser for tests: Debian's Chromium, driven by Playwright from an environment of its own."""

from __future__ import annotations

from tests.servers.environments import Environment

PLAYWRIGHT = Environment("playwright", ("playwright==1.65.2",))
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
"""It runs as root in containers, where it has no sandbox and little shared memory."""
