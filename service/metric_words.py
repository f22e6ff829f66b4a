"""The values that labels of metrics may have: few, known before anything happens, the same words as everywhere."""

from __future__ import annotations

from collections.abc import Collection

from service.error_codes import OTHER
from state.model import Phase

WINDOWS = ("completed", "skipped", "failed", "quarantined", "released", "fenced", "left")
"""How an attempt at a window ended: `failed` goes on by itself, `quarantined` waits for an operator."""

ROWS = (
    "extracted",
    "written",
    "staged",
    "loaded",
    "inserted",
    "updated",
    "unchanged",
    "discarded",
    "replaced",
    "removed",
)
"""Stations of a row, in order; `loaded` = `inserted` + `updated` + `unchanged` + `discarded`."""

VERDICTS = ("passed", "drift", "unproven", "failed")
"""`validation_status` in lower case."""

TICKS = ("missed", "overlapping", "failed")

PHASES = tuple(phase.value for phase in Phase)
LOOK = "look"
PLACES = (*PHASES, LOOK)
"""Where an error comes up: in a phase of a run, or while looking for windows that are due."""

KINDS = (
    "error",
    "transient",
    "unreachable",
    "restart",
    "permanent",
    "contract",
    "audit_mismatch",
    "receipt_mismatch",
    "duplicate_window",
    "configuration",
    "unknown_outcome",
    "fenced",
)
"""Classes of errors, `kind` in `state/errors.py`."""

WATCHED = {
    "archive_credentials": "configuration",
    "clock": "configuration",
    "credential": "configuration",
    "defect": "permanent",
    "disk_full": "transient",
    "network_policy": "configuration",
    "oauth_expired": "transient",
    "oauth_invalid": "configuration",
    "privilege": "configuration",
    "resource_monitor": "configuration",
    "role": "configuration",
    "security_exception": "configuration",
    "user_locked": "configuration",
}
"""Codes that somebody is called for, each with its class: they begin at 0 in every place."""

EFFECTS = (
    "drive.adopt",
    "drive.checkpoint",
    "drive.claim",
    "drive.create",
    "drive.fail",
    "drive.record",
    "drive.release",
    "drive.renew",
    "drive.reopen",
    "loader.adopt",
    "loader.archive",
    "loader.clean",
    "loader.copy",
    "loader.counts",
    "loader.fence",
    "loader.held",
    "loader.ledger",
    "loader.loads",
    "loader.look",
    "loader.merge",
    "loader.prepare",
    "loader.put",
    "loader.retire",
    "loader.sweep",
    "notify.email",
    "notify.slack",
    "notify.webhook",
    "snowflake.clock",
    "snowflake.login",
    "source.clock",
    "source.close",
    "source.close_pit",
    "source.contract",
    "source.count",
    "source.dates",
    "source.indices",
    "source.list",
    "source.live_count",
    "source.mapping",
    "source.open",
    "source.open_pit",
    "source.page",
    "source.plan",
    "source.probe",
    "source.product",
    "source.proposals",
    "source.read",
    "source.settings",
    "spool.rename",
    OTHER,
)
"""Effects by the first two words of their port."""

STATEMENTS = (
    "alter",
    "alter-session",
    "begin",
    "call",
    "commit",
    "copy",
    "create",
    "delete",
    "describe",
    "drop",
    "get",
    "insert",
    "list",
    "merge",
    "put",
    "remove",
    "rollback",
    "select",
    "show",
    "truncate",
    "update",
    "use",
    OTHER,
)
"""Statements by their first word."""

SAME_STATEMENT = {"desc": "describe", "ls": "list", "rm": "remove", "start": "begin", "with": "select"}

RESULTS = ("ok", "error", "cancelled")
"""What became of an effect."""

STATEMENT_RESULTS = (*RESULTS, "unknown")
"""What became of a statement; `unknown`: its answer was lost."""

CHANNELS = ("slack", "webhook", "email")
SENDINGS = ("sent", "failed", "dropped")
"""`failed`: given up after its retries; `dropped`: never tried, because too many waited."""

ACTIONS = ("backfill", "cancel", "retry", "pause", "resume", "release", "reload", OTHER)

MOST_COLUMNS = 20
"""Columns of a pipeline whose touched values have a series of their own."""

PHASE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def known(word: str, words: Collection[str]) -> str:
    """`word` if it is one of `words`, else `other`."""
    return word if word in words else OTHER


def kind(word: str) -> str:
    """A class of errors; `error` for one that is not known."""
    return word if word in KINDS else KINDS[0]


def effect(port: str) -> str:
    """The first two words of a port's name, if they are known."""
    return known(".".join(port.split(".")[:2]), EFFECTS)


def statement(verb: str) -> str:
    """The known kind of a statement that begins with `verb`, in any case."""
    word = verb.lower()
    return known(SAME_STATEMENT.get(word, word), STATEMENTS)


class Columns:
    """Columns that have a series: the first `MOST_COLUMNS` of a pipeline that come up, the others one together."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}

    def label(self, pipeline: str, column: str) -> str:
        """The column, or `other`."""
        seen = self._seen.setdefault(pipeline, set())
        if column not in seen and len(seen - {OTHER}) >= MOST_COLUMNS:
            column = OTHER
        seen.add(column)
        return column

    def forget(self, pipeline: str) -> Collection[str]:
        """What the labels of a pipeline were."""
        return self._seen.pop(pipeline, ())
