"""The demo: real flights through all seven phases, a real crash in the middle, and the proof at the end."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from loaders.duckdb.look import look
from service import exit_codes
from service.config import load_config
from service.console import Console
from service.demo import words
from service.demo.check import tell_evidence
from service.demo.crash import Leftovers, continued, leftovers
from service.demo.evidence import Evidence, gather
from service.demo.flights import airline_names, end_after, read_flights
from service.demo.narration import Meter, Narrator
from service.demo.next import tell_next
from service.demo.pipeline import config_file, database_of, demo_folder, write_config
from service.demo.process import KILLED, Ended, caught_in_transfer, command, follow, require_end, runs_of
from service.demo.second import Second, tell_second
from service.demo.server import SearchServer, search_server
from service.demo.tables import airlines_table, carriers_table, chain_table, continued_table, interrupted_table
from service.demo.worker import Told
from service.memory import peak_resident, resident
from service.settings import PipelineConfig
from service.views import runs_table
from state.errors import PermanentError
from state.model import Run
from state.windows import tiles

STEPS = 8
BEFORE_THE_KILL = 0.4
"""Share of the windows that are loaded before the process is killed."""
SHOWN = 4
"""Windows listed one by one in the table of runs."""
QUESTION = """\
SELECT carrier, count(*) AS flights, avg(arr_delay) AS minutes_late
FROM flights GROUP BY carrier ORDER BY minutes_late DESC"""
QUESTION_TO_BOTH = """\
SELECT name, count(*) AS flights, avg(2013 - planes.year) AS age, avg(arr_delay) AS minutes_late
FROM flights JOIN planes USING (tailnum) JOIN airlines USING (carrier)
GROUP BY name ORDER BY minutes_late DESC"""


class Result(msgspec.Struct, frozen=True):
    """What the demo found. `seconds` by step; `peak_bytes`: at most so much memory, all processes together."""

    flights: int
    windows: int
    killed: Ended
    parts_kept: int
    ended: Ended
    evidence: Evidence
    second: Second | None
    seconds: dict[str, float]
    peak_bytes: int

    @property
    def holds(self) -> bool:
        """Every row of each source arrived exactly once."""
        return self.evidence.holds and (self.second is None or self.second.evidence.holds)


def tell_all(directory: Path, *, rows: int | None, json: bool) -> int:
    """`service.demo.run_demo`."""
    console = Console(json=json)
    end = end_after(rows)
    with demo_folder(directory):
        result = Demo(directory, Narrator(console, STEPS)).run(end)
    if json:
        console.emit(result)
    return exit_codes.OK if result.holds else exit_codes.AUDIT_MISMATCH


class Demo:
    """The steps in their order."""

    def __init__(self, folder: Path, tell: Narrator) -> None:
        self._folder = folder
        self._tell = tell

    def run(self, end: datetime) -> Result:
        """Everything, from an empty folder to the proof."""
        began = time.monotonic()
        self._tell.title(words.TITLE, words.PLACE.format(folder=self._folder))
        with search_server(self._folder / "server.log") as server:
            self._fill(server, end)
            filling = server.peak_bytes + peak_resident(os.getpid())
            config = self._configure(server, end)
            killed = self._load_and_kill(config)
            found = self._look(config)
            ended = self._go_on(config, found)
            loading = server.peak_bytes + resident(os.getpid()) + max(killed.peak_bytes, ended.peak_bytes)
        runs = runs_of(config)
        kept = self._tell_continued(found, runs)
        evidence = self._prove(config, runs)
        self._tell.step("A second source: MariaDB, asked what it has")
        second = tell_second(self._tell, self._folder, evidence)
        self._ask(config, second)
        self._tell.end_step()
        seconds = {step.name: step.seconds for step in self._tell.done}
        result = Result(
            evidence.source.rows, len(runs), killed, kept, ended, evidence, second, seconds, max(filling, loading)
        )
        self._close(result, time.monotonic() - began)
        tell_next(self._tell, self._folder, found.interrupted[0].run.name)
        return result

    @property
    def _config_path(self) -> Path:
        return config_file(self._folder)

    def _fill(self, server: SearchServer, end: datetime) -> None:
        self._tell.step("Real data goes into a search server")
        flights = read_flights(end)
        self._tell.say(words.FILL.format(flights=flights.num_rows, version=server.version, url=server.url))
        with self._tell.meter("flights indexed", flights.num_rows) as meter:
            server.fill(flights, meter.advance)
        self._tell.good(words.FILLED.format(count=server.count()))

    def _configure(self, server: SearchServer, end: datetime) -> PipelineConfig:
        self._tell.step("One file says what is to be loaded")
        path = write_config(self._folder, server.url, end)
        config = load_config(path)
        self._tell.say(words.CONFIGURE.format(path=path, windows=count_windows(config)))
        return config

    def _load_and_kill(self, config: PipelineConfig) -> Ended:
        """The first process: loads well, until it is killed between two parts of a window."""
        self._tell.step("Load it, and pull the plug")
        self._tell.command(typed(command(self._config_path)))
        self._tell.say(words.LOAD.format(at_a_time=config.windows.max_open))
        windows, log = count_windows(config), self._folder / "run-1.log"
        least = int(windows * BEFORE_THE_KILL)
        with self._tell.meter("windows loaded", windows) as meter:

            def doom(pid: int, said: Told) -> bool:
                between_parts = 0 < said.part < said.parts
                return meter.done >= least and between_parts and caught_in_transfer(config, pid)

            ended = follow(self._config_path, log, Progress(meter).hear, doom)
        require_end(ended, KILLED, log)
        self._tell.bad(words.KILLED.format(pid=ended.pid, done=meter.done, windows=windows))
        return ended

    def _look(self, config: PipelineConfig) -> Leftovers:
        """What the crash left, before anybody repairs anything."""
        self._tell.step("What the crash left behind")
        found = leftovers(config)
        self._tell.show(interrupted_table(found.interrupted, self._tell.width))
        parts = sum(one.parts_read for one in found.interrupted)
        chunks = sum(len(one.run.manifest.chunks) for one in found.interrupted)
        kept = words.KEPT.format(
            windows=found.completed, rows=found.in_target, parts=parts, waiting=found.waiting, chunks=chunks
        )
        self._tell.say(kept)
        self._tell.say(words.LOST.format(spooled=found.spooled))
        return found

    def _go_on(self, config: PipelineConfig, found: Leftovers) -> Ended:
        """The second process: the same command, to the end."""
        self._tell.step("The same command again")
        self._tell.command(typed(command(self._config_path)))
        log = self._folder / "run-2.log"
        with self._tell.meter("windows loaded", count_windows(config)) as meter:
            meter.advance(found.completed, f"{found.in_target:,} rows")
            ended = follow(self._config_path, log, Progress(meter, found.in_target).hear)
        require_end(ended, exit_codes.OK, log)
        return ended

    def _tell_continued(self, found: Leftovers, runs: Sequence[Run]) -> int:
        """How the interrupted runs went on; returns how many parts did not have to be read again."""
        went_on = continued(found.interrupted, runs)
        self._tell.show(continued_table(went_on, self._tell.width))
        kept = sum(one.parts_kept for one in went_on)
        self._tell.say(words.WENT_ON.format(kept=kept))
        return kept

    def _prove(self, config: PipelineConfig, runs: Sequence[Run]) -> Evidence:
        """The counts of the runs, and then a look from outside that does not believe them."""
        self._tell.step("The proof")
        self._tell.say(words.RUNS_SAY)
        self._tell.show(runs_table(runs, self._tell.width, SHOWN))
        evidence = gather(config, runs)
        self._tell.show(chain_table(evidence))
        tell_evidence(self._tell, evidence)
        return evidence

    def _ask(self, config: PipelineConfig, second: Second | None) -> None:
        """One question that a person understands; to both sources at once where there are two."""
        self._tell.step("And now the data is there to be asked: which airline is late?")
        if second is not None:
            self._tell.quote(QUESTION_TO_BOTH)
            self._tell.show(airlines_table(look(database_of(config), QUESTION_TO_BOTH)))
            return
        self._tell.quote(QUESTION)
        self._tell.show(carriers_table(look(database_of(config), QUESTION), airline_names()))

    def _close(self, result: Result, seconds: float) -> None:
        if result.holds:
            found = result.evidence.target.rows
            self._tell.good(words.HOLDS.format(found=found, flights=result.flights))
            if result.second is not None:
                self._tell.good(words.HOLDS_TOO.format(planes=result.second.evidence.target.rows))
        else:
            self._tell.bad(words.BROKEN)
        steps = ", ".join(f"{took:.0f} s" for took in result.seconds.values())
        self._tell.aside(words.COST.format(seconds=seconds, steps=steps, gigabytes=result.peak_bytes / 1e9))


def count_windows(config: PipelineConfig) -> int:
    """Windows of the pipeline from its start to its end."""
    until = config.windows.end
    return 0 if until is None else sum(1 for _ in tiles(config.windows.tiling(), until))


def typed(command_words: Sequence[str]) -> str:
    """A command as one would type it."""
    return shlex.join(["python", *command_words[1:]])


class Progress:
    """Moves a meter by what a loading process tells."""

    def __init__(self, meter: Meter, rows: int = 0) -> None:
        self._meter = meter
        self._rows = rows

    def hear(self, said: Told) -> None:
        """Raises `PermanentError` if a run failed: nothing may fail in the demo but the power."""
        if said.failed:
            raise PermanentError(f"a run of the demo failed: {said.failed}", code="demo")
        if said.finished:
            self._rows += said.rows
            self._meter.advance(1, f"{self._rows:,} rows")
