"""What tests on real servers share; `tests/conftest.py` takes these in.

A test that takes `server`, a search server, runs on every release of the session. To run on some only:
`@pytest.mark.parametrize("server", [OS2], indirect=True)`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.closing import say
from tests.servers.farm import FARM, note_wanted, releases
from tests.servers.gcs import GcsServer
from tests.servers.mariadb import MariaServer
from tests.servers.prometheus import Prometheus
from tests.servers.s3 import S3Server
from tests.servers.search import SearchServer


@pytest.fixture(scope="session", params=releases(), ids=str)
def server(request) -> SearchServer:
    """A running search server of the session; tests use index names of their own (`client.new_index`)."""
    return FARM.get(request.param)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    """A running MariaDB of the session; tests take a fresh `database()` of it."""
    server = MariaServer()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A running S3 server of the session; tests take a fresh `bucket()` of it."""
    server = S3Server()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsServer]:
    """A running server of Google Cloud Storage's protocol; tests take a fresh `bucket()` of it."""
    server = GcsServer()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Prometheus]:
    """A running Prometheus of the session; a test names what to `scrape`."""
    server = Prometheus()
    try:
        yield server.start()
    finally:
        server.remove()


def pytest_collection_finish(session):
    callspecs = [item.callspec for item in session.items if hasattr(item, "callspec")]
    note_wanted(value for spec in callspecs for value in spec.params.values())


def pytest_sessionfinish():
    if FARM.wanted:
        say("search servers", *FARM.report())
    FARM.stop()
