"""The demo's own tables: values in, rich renderables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa
from rich.console import RenderableType
from rich.text import Text

from service.demo.crash import Continued, Interrupted
from service.demo.evidence import Evidence
from service.demo.fingerprint import Fingerprint
from service.views import BAD, GOOD, number, table, word

BAR = "█"
BAR_COLUMNS = 24


def interrupted_table(found: Sequence[Interrupted], width: int) -> RenderableType:
    counted = ("attempt", "token", "parts read", "rows")
    made = table("run", "died in", *counted, width=width, right=counted)
    for one in found:
        run, parts = one.run, one.run.manifest.parts
        read = f"{one.parts_read} of {len(parts)}" if parts else "-"
        rows = number(run.manifest.rows)
        made.add_row(run.name, one.phase, str(run.attempts), str(run.token), read, rows)
    return made


def continued_table(found: Sequence[Continued], width: int) -> RenderableType:
    counted = ("attempt", "token", "parts kept", "read now")
    made = table("run", "now", *counted, width=width, right=counted)
    for one in found:
        before, after = one.before, one.after
        made.add_row(
            after.name,
            word(after.status.value),
            f"{before.attempts} → {after.attempts}",
            f"{before.token} → {after.token}",
            str(one.parts_kept),
            str(len(after.manifest.parts) - one.parts_kept),
        )
    return made


def chain_table(evidence: Evidence) -> RenderableType:
    """The chain of counts, summed over all runs."""
    made = table("link of the chain", "sum", "counted by", "", right=("sum",))
    for link in evidence.chain:
        state = Text(f"broken in {link.broken} runs", style=BAD) if link.broken else Text("✓", style=GOOD)
        made.add_row(link.name, number(link.count), link.how, state)
    return made


def evidence_table(evidence: Evidence) -> RenderableType:
    """The two fingerprints, one below the other so that they can be compared by eye."""
    made = table("", "rows", "keys", "checksum of all values", right=("rows", "keys"))
    for name, found in (("the CSV file", evidence.source), ("the DuckDB table", evidence.target)):
        made.add_row(name, number(found.rows), number(found.keys), found.checksum)
    same = evidence.source == evidence.target
    made.add_row("", *(verdicts(evidence.source, evidence.target)), style=GOOD if same else BAD)
    return made


def verdicts(source: Fingerprint, target: Fingerprint) -> list[str]:
    pairs = ((source.rows, target.rows), (source.keys, target.keys), (source.checksum, target.checksum))
    return ["equal" if one == other else "DIFFERENT" for one, other in pairs]


def carriers_table(answer: pa.Table, names: Mapping[str, str]) -> RenderableType:
    """Average delay by carrier, worst first, with a bar for those who like pictures."""
    made = table("carrier", "airline", "flights", "minutes late", "", right=("flights", "minutes late"))
    rows = answer.to_pylist()
    worst = max((abs(row["minutes_late"]) for row in rows), default=1) or 1
    for row in rows:
        late = row["minutes_late"]
        bar = Text(BAR * round(abs(late) / worst * BAR_COLUMNS), style="yellow" if late > 0 else GOOD)
        name = names.get(row["carrier"], "")
        made.add_row(row["carrier"], name, number(row["flights"]), f"{late:+.1f}", bar)
    return made


class HardValue(msgspec.Struct, frozen=True):
    """A value as the source's own client prints it, and as the target holds it (None: NULL).

    `settled`: the column's policy makes it NULL.
    """

    column: str
    printed: str
    held: str | None
    settled: bool

    @property
    def is_right(self) -> bool:
        """True if it is the same, or NULL where the policy says so."""
        return self.held is None if self.settled else self.held == self.printed


def hard_table(values: Sequence[HardValue]) -> RenderableType:
    """The values, and what became of each."""
    made = table("column", "MariaDB prints", "the DuckDB table has")
    for value in values:
        said = "NULL, by its policy" if value.settled else "the same"
        told = Text(f"✓ {said}", style=GOOD) if value.is_right else Text(f"DIFFERENT: {value.held}", style=BAD)
        made.add_row(value.column, value.printed, told)
    return made


def pipelines_table(found: Mapping[str, Evidence]) -> RenderableType:
    """What was found of each pipeline, side by side."""
    made = table(
        "pipeline", "rows", "proven", "receipts", "source and target", right=("rows", "proven", "receipts")
    )
    for name, one in found.items():
        equal = one.source == one.target
        same = Text(f"{one.target.checksum} ✓" if equal else "DIFFERENT", style=GOOD if equal else BAD)
        made.add_row(name, number(one.target.rows), f"{one.proven} of {one.runs}", number(one.receipts), same)
    return made


def airlines_table(answer: pa.Table) -> RenderableType:
    """Airlines by delay, worst first, with the age of their planes."""
    counted = ("flights", "age", "minutes late")
    made = table("airline", *counted, "", right=counted)
    rows = answer.to_pylist()
    worst = max((abs(row["minutes_late"]) for row in rows), default=1) or 1
    for row in rows:
        late = row["minutes_late"]
        bar = Text(BAR * round(abs(late) / worst * BAR_COLUMNS / 2), style="yellow" if late > 0 else GOOD)
        made.add_row(row["name"], number(row["flights"]), f"{row['age']:.0f} years", f"{late:+.1f}", bar)
    return made
