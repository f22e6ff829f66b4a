"""The demo's proof: the chain of counts of all runs, and a look from outside that knows nothing of Sluiceway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from loaders.duckdb.look import look
from service.bench import utc_now
from service.demo.fingerprint import Fingerprint, fingerprint
from service.demo.flights import COLUMNS, KEY, read_flights
from service.demo.pipeline import database_of
from service.report import report
from service.settings import PipelineConfig
from service.views import verdict
from state.model import Run, RunStatus, ValidationStatus

RECEIPTS = """SELECT run_name, count(*) AS times FROM SLUICEWAY_LOADS
WHERE kind = 'receipt' AND pipeline = '{pipeline}' GROUP BY run_name"""


class ChainLink(msgspec.Struct, frozen=True):
    """A count of the proof, summed over all runs; `broken`: runs in which it does not hold."""

    name: str
    count: int | None
    how: str
    broken: int


class Evidence(msgspec.Struct, frozen=True):
    """`source` and `target`: fingerprints of the CSV file and of the DuckDB table, made in the same way."""

    runs: int
    proven: int
    receipts: int
    repeated_receipts: int
    chain: tuple[ChainLink, ...]
    source: Fingerprint
    target: Fingerprint

    @property
    def holds(self) -> bool:
        """Every row arrived exactly once, and every run says so itself."""
        return (
            self.source == self.target
            and self.source.rows == self.source.keys
            and self.proven == self.runs == self.receipts
            and not self.repeated_receipts
            and not any(link.broken for link in self.chain)
        )


def gather(config: PipelineConfig, runs: Sequence[Run]) -> Evidence:
    """Look everything up now. Raises `TransientError` while another process has the database open."""
    database = database_of(config)
    receipts, repeated = receipts_of(database, config.pipeline_metadata.pipeline_name)
    return Evidence(
        runs=len(runs),
        proven=proven(runs),
        receipts=receipts,
        repeated_receipts=repeated,
        chain=tuple(chain(runs)),
        source=source_fingerprint(config),
        target=target_fingerprint(database, config.target_system.table),
    )


def receipts_of(database: Path, pipeline: str) -> tuple[int, int]:
    """Runs of a pipeline with a receipt in the target, and those that have more than one."""
    times = look(database, RECEIPTS.format(pipeline=pipeline))["times"].to_pylist()
    return len(times), sum(each > 1 for each in times)


def proven(runs: Sequence[Run]) -> int:
    """Runs whose audit passed."""
    return sum(run.status is RunStatus.COMPLETED and verdict(run) == ValidationStatus.PASSED for run in runs)


def source_fingerprint(config: PipelineConfig) -> Fingerprint:
    """Of the flights in the package's own file."""
    if config.windows.end is None:
        raise AssertionError("the demo's windows have an end")
    return fingerprint(read_flights(config.windows.end), KEY)


def target_fingerprint(database: Path, table: str) -> Fingerprint:
    """Of the table in the warehouse."""
    return fingerprint(look(database, f"SELECT {', '.join(COLUMNS)} FROM {table}"), KEY)


def chain(runs: Sequence[Run]) -> list[ChainLink]:
    """The links of all proofs, each summed over the runs."""
    reports = [report(run, utc_now()) for run in runs]
    names = {link["name"]: link["how"] for one in reports for link in one.proof}
    links = []
    for name, how in names.items():
        counts = [link["count"] for one in reports for link in one.proof if link["name"] == name]
        total = None if None in counts else sum(counts)
        links.append(ChainLink(name, total, how, sum(one.broken_link == name for one in reports)))
    return links
