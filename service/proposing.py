"""Proposals of a source → configuration files, with the reason of each choice as its comment."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from textwrap import wrap
from typing import Any

import yaml

from connectors.proposals import Meaning, Proposal, Proposed
from service.config import template
from service.source_url import API_KEY, PASSWORD
from state.errors import ConfigurationError
from state.model import show_instant

SHARED = "shared.yaml"
CONNECTION = "source"
COMMENT_COLUMNS = 112
HOURLY, DAILY = timedelta(days=31), timedelta(days=20 * 365)
"""Where the first row is no longer ago, windows of an hour; of a day. Beyond it, of a month."""
LOOKBACK_SECONDS: Mapping[Meaning, int] = {
    Meaning.CHANGED: 600,
    Meaning.ARRIVED: 600,
    Meaning.CREATED: 600,
    Meaning.HAPPENED: 3600,
}
DAY_SECONDS = 86_400
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
WORDS_OF_YAML = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
NAME_CHARACTERS = 60


@dataclass(frozen=True)
class Target:
    """Where proposed pipelines load to. `place`: path of a DuckDB file, or `DB.SCHEMA` in Snowflake."""

    kind: str
    place: str

    def table(self, name: str) -> str:
        """The target table of a pipeline."""
        return name if self.kind == "duckdb" else f"{self.place}.{name.upper()}"


def target(text: str) -> Target:
    """What `duckdb:PATH` or `snowflake[:DB.SCHEMA]` means. Raises `ConfigurationError`."""
    kind, _, place = text.partition(":")
    if kind == "duckdb":
        return Target(kind, place or "warehouse.duckdb")
    if kind == "snowflake" and (not place or re.fullmatch(r"\w+\.\w+", place)):
        return Target(kind, (place or "INGEST.RAW").upper())
    raise ConfigurationError(
        f"{text} is no target", hint="Give duckdb:PATH or snowflake:DB.SCHEMA.", code="unknown_kind", path="--to"
    )


@dataclass(frozen=True)
class Planned:
    """A proposal with what was decided here: its name as a pipeline, and how its time is cut."""

    name: str
    proposal: Proposal
    start: datetime
    width: str

    @property
    def file(self) -> str:
        return f"{self.name}.yaml"

    @property
    def mode(self) -> str:
        if self.proposal.cursor is None:
            return "snapshot"
        return "append" if self.proposal.append else "merge"


def planned(proposed: Proposed, now: datetime) -> list[Planned]:
    """Each proposal under a name that no other has. `now`: where the windows of an empty table begin."""
    taken: set[str] = set()
    made = []
    for one in proposed.found:
        name = unique(pipeline_name(one.name), taken)
        width = width_of(one.first or now, now, finest="day" if one.whole_days else "1h")
        first = now - timedelta(days=1) if one.cursor is None else one.first or now
        made.append(Planned(name, one, start_of(first, width), width))
    return made


def pipeline_name(name: str) -> str:
    """A name of a pipeline, a file and a table for what the source calls so."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "pipeline"
    return (plain if plain[0].isalpha() else f"t_{plain}")[:NAME_CHARACTERS]


def unique(name: str, taken: set[str]) -> str:
    """`name`, with a number if it is taken; it is taken from then on."""
    found = next(
        one for number in range(len(taken) + 1) if (one := f"{name}_{number + 1}" if number else name) not in taken
    )
    taken.add(found)
    return found


def width_of(first: datetime, now: datetime, finest: str = "1h") -> str:
    """The finest width that gives a number of windows which one wants to look at."""
    age = now - first
    return finest if age <= HOURLY else "day" if age <= DAILY else "month"


def start_of(first: datetime, width: str) -> datetime:
    """The edge at or before the first row."""
    at = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    at = at if width == "1h" else at.replace(hour=0)
    return at.replace(day=1) if width == "month" else at


def shared_file(proposed: Proposed, to: Target) -> str:
    """The text of the file that all pipelines share."""
    needs = [name for name in (PASSWORD, API_KEY) if name in json.dumps(dict(proposed.connection))]
    lines = [*_comment(f"{proposed.product}. Secrets are references, {{env: NAME}} or {{file: PATH}}.")]
    lines += [f"# Set {name} where the pipelines run, or refer to another place." for name in needs]
    lines += ["connections:", f"  {CONNECTION}:", *entries(proposed.connection, 4), "", "defaults:"]
    if to.kind == "duckdb":
        lines += entries({"stage_system": {"directory": "stage"}}, 2)
        lines += entries({"target_system": {"type": "duckdb", "database": to.place}}, 2)
    else:
        lines += entries({"stage_system": {"stage": f"{to.place}.SLUICEWAY"}}, 2)
        lines += entries({"target_system": {"type": "snowflake"}}, 2)
        connection = template("target_snowflake.yaml").partition("snowflake_connection:")[2]
        lines += ["  snowflake_connection:", *(f"  {line}" for line in connection.strip("\n").splitlines())]
    lines += entries({"drive_table": {"type": "sqlite", "path": "sluiceway.sqlite"}}, 2)
    return "\n".join(lines) + "\n"


def entries(group: Mapping[str, Any], indent: int) -> list[str]:
    return [f"{' ' * indent}{flow(key)}: {flow(value)}" for key, value in group.items()]


def pipeline_file(one: Planned, to: Target, doctor: str) -> str:
    """The text of one pipeline's file. `doctor`: the command that looks at it next."""
    return "\n".join(_lines(one, to, doctor)) + "\n"


def _lines(one: Planned, to: Target, doctor: str) -> Iterator[str]:
    proposal = one.proposal
    yield from _comment(
        f"{proposal.name}, rows: {proposal.rows:,}. Proposed by what it declares and holds; look it through:"
    )
    yield f"#   {doctor}"
    for note in proposal.notes:
        yield from _comment(note)
    yield from ("config_version: 1", f"shared: {SHARED}", "", "pipeline_metadata:")
    yield from (f"  pipeline_name: {one.name}", "", "windows:")
    yield from _windows(one)
    yield from ("", "source_system:", f"  connection: {CONNECTION}")
    for setting in proposal.source:
        yield from _comment(setting.why, 2)
        yield f"  {setting.key}: {flow(setting.value)}"
    yield from ("", "target_system:", f"  table: {flow(to.table(one.name))}")
    yield from _mode(one)


def _windows(one: Planned) -> Iterator[str]:
    proposal = one.proposal
    if proposal.cursor is None:
        yield from _comment("The whole table is loaded once for the newest window, however many went by.", 2)
    elif proposal.first is None or proposal.last is None:
        yield from _comment("There are no rows yet; older ones that come later are never loaded.", 2)
    else:
        first, last = show_instant(proposal.first), show_instant(proposal.last)
        yield from _comment(
            f"{proposal.cursor} lies between {first} and {last}; rows before the start are never"
            " loaded, and a window is loaded when it is over.",
            2,
        )
    yield f"  start: {one.start.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    yield f"  width: {one.width}"
    yield f"  safety_lag_seconds: {proposal.safety_lag_seconds}"
    if one.mode == "merge":
        yield from _comment("Read again before each window, for rows that became visible late.", 2)
        lookback = DAY_SECONDS if proposal.whole_days else LOOKBACK_SECONDS[proposal.meaning]
        yield f"  lookback_seconds: {lookback + proposal.behind_seconds}"


def _mode(one: Planned) -> Iterator[str]:
    proposal = one.proposal
    why = {
        "merge": "One row per key, the newest wins.",
        "append": "No key tells rows apart; right only as long as a row's cursor never changes.",
        "snapshot": "Each run replaces the whole table by what the source holds.",
    }
    yield from _comment(why[one.mode], 2)
    yield f"  mode: {one.mode}"
    if proposal.key:
        yield f"  key: {flow(list(proposal.key))}"
    if one.mode == "append":
        yield "  cursor_immutable: true"
    elif one.mode == "merge":
        stamped = proposal.meaning is Meaning.CHANGED and proposal.cursor is not None
        yield f"  version: {flow(proposal.cursor if stamped else 'read_at')}"


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    """Lines of a comment. A name in it may hold what ends a line, and so the comment."""
    before = f"{' ' * indent}# "
    plain = "".join(one if one.isprintable() else " " for one in text)
    return (before + line for line in wrap(plain, COMMENT_COLUMNS - indent - 2, break_long_words=False))


def flow(value: Any) -> str:
    """A value as YAML in one line; text is quoted where it could be taken for something else."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in WORDS_OF_YAML
        return value if plain else _quoted(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(flow(one) for one in value) + "]"
    return json.dumps(value)


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize).rstrip("\n")
