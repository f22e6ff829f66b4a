"""The command gives memory back: decided before pyarrow is imported, and left to the environment if set there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from service import memory

PROGRAM = """
import sys
import service.__main__
assert "pyarrow" not in sys.modules, "pyarrow chose its allocator before anybody could say which"
from service.memory import give_back
give_back()
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(("given", "pool"), [(None, "system"), ("mimalloc", "mimalloc")])
def test_arrow_uses_the_systems_allocator_unless_told_otherwise(given, pool):
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    if given:
        environment["ARROW_DEFAULT_MEMORY_POOL"] = given
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == pool


SETTLED = """
import gc
import sys
from pathlib import Path
from service.app import load
from service.memory import settle
from service.config import parse_config
from tests.lifecycle.world import defaults
homes = ("connectors.files.connector", "loaders.duckdb.loader")
config = parse_config(defaults(Path("/nowhere")))
assert not set(homes) & set(sys.modules)
load(config)
assert set(homes) <= set(sys.modules)
before = len(gc.get_objects())
settle()
assert gc.get_freeze_count() > 50_000 and len(gc.get_objects()) < before / 50, (before, len(gc.get_objects()))
"""


def test_what_a_daemon_works_with_is_loaded_before_it_is_used_and_is_not_looked_through_again():
    """Either would hold the event loop: for a second the one, for 50 ms again and again the other."""
    subprocess.run([sys.executable, "-c", SETTLED], check=True)


def test_what_a_process_has_and_the_most_it_had():
    pid = os.getpid()
    before = memory.resident(pid)
    more = bytearray(b"x" * (64 << 20))
    assert memory.resident(pid) - before > 48 << 20
    del more
    assert memory.peak_resident(pid) - before > 48 << 20
    assert memory.resident(0) == 0
