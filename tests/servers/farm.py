"""The search servers of one test session: each started once, all at the same time, when the first is needed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from tests.servers.java import java_home
from tests.servers.search import ALWAYS, MATRIX, Release, SearchServer

ASKED_FOR_MATRIX = bool(os.environ.get("SLUICEWAY_TEST_MATRIX"))


def releases() -> tuple[Release, ...]:
    """What this session runs: always the same three; with the matrix those too that a JDK here can run."""
    more = [release for release in MATRIX if ASKED_FOR_MATRIX and java_home(release.java)]
    return (*ALWAYS, *more)


class Farm:
    """Servers by release. `wanted`: those that the collected tests need."""

    def __init__(self) -> None:
        self.wanted: set[Release] = set()
        self._started: dict[Release, Future[SearchServer]] = {}

    def get(self, release: Release) -> SearchServer:
        """The running server; the first call starts all that are wanted, side by side."""
        if release not in self._started:
            missing = {release, *self.wanted} - self._started.keys()
            pool = ThreadPoolExecutor(len(missing), thread_name_prefix="search-server")
            self._started |= {one: pool.submit(SearchServer(one).start) for one in missing}
            pool.shutdown(wait=False)
        return self._started[release].result()

    def stop(self) -> None:
        """End all of them; one that is still starting is waited for."""
        running = [future.result() for future in self._started.values() if future.exception() is None]
        with ThreadPoolExecutor(max(len(running), 1)) as pool:
            list(pool.map(SearchServer.stop, running))

    def report(self) -> Iterable[str]:
        """One line for each server that ran or did not, for the end of the session."""
        for release, future in sorted(self._started.items(), key=lambda item: str(item[0])):
            error = future.exception()
            yield f"{release}: " + (
                f"started in {future.result().start_seconds:.0f} s" if not error else str(error)
            )
        for release in MATRIX:
            if release not in self._started:
                yield f"{release}: not run: {_why_not(release)}"


def _why_not(release: Release) -> str:
    if not ASKED_FOR_MATRIX:
        return "only `make test-matrix` does"
    if java_home(release.java) is None:
        return f"no JDK of version {release.java[0]} or newer in /usr/lib/jvm or JAVA_HOME"
    return "no test of this session needed it"


FARM = Farm()


def note_wanted(parameters: Iterable[object]) -> None:
    """Tell the farm which servers the collected tests name."""
    FARM.wanted.update(one for one in parameters if isinstance(one, Release))
