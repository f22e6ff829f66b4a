"""The proof of a run: a chain of counts from the source to the target, each link looked up on its own.

    source count → rows read → footers → staged files → rows copied → stage rows
                 → distinct keys → inserted + updated + older + unchanged → target rows

Rows that a value policy sets aside leave the chain after `rows read`, and have one of their own:

    quarantined rows → staged files → rows copied → stage rows → rows of the quarantine table

Equal links prove that nothing was lost and nothing came twice. A link that nobody can count says so; a
link that a user's function vouches for is `asserted`. Neither is ever filled in from its neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from loaders.base import Counts, Held
from state.errors import AuditMismatch
from state.model import Manifest, MergeCounts, ValidationStatus

ASSERTED = "asserted"
SWITCHED_OFF = "the merge is switched off"
NOT_OFFERED = "source offers no count"
SET_ASIDE = "quarantined_rows"
"""The link of the rows that a policy sets aside: `rows_read` less these are those that are loaded."""
BRANCHES = ("staged_quarantined", "merged_quarantined")
"""Links that are not counted against the one before them: the chain of rows set aside stands beside the other."""


class Link(msgspec.Struct, frozen=True):
    """One count of the chain and the earlier count that it must equal (None: it stands on its own).

    `how` tells who counted: a snapshot kind, `footers`, `query`, `asserted`.
    """

    name: str
    count: int | None
    expected: int | None
    how: str

    @property
    def holds(self) -> bool:
        return self.count is None or self.expected is None or self.count == self.expected


class Proof(msgspec.Struct, frozen=True):
    """Links in order and the verdict; `broken` is the first link that does not hold."""

    links: tuple[Link, ...]
    status: ValidationStatus
    broken: Link | None = None

    def require(self) -> None:
        """Raise `AuditMismatch` naming the broken link."""
        if self.broken is not None:
            raise AuditMismatch(
                self.broken.name,
                self.broken.expected,
                self.broken.count,
                hint=HINTS[self.broken.name],
                figures=figures(self),
            )


HINTS = {
    "rows_read": "The source gave another number of rows than it counted. Retry reads them again.",
    "footer_rows": "A chunk holds another number of rows than were read. Retry reads them again.",
    "staged_rows": "A staged file is missing or was changed. Retry reads the window again.",
    "copied_rows": "COPY loaded another number of rows than the files hold. Retry reads the window again.",
    "stage_rows": "Rows of the stage table were removed or added. Retry reads the window again.",
    "merged_rows": "The merge saw another number of stage rows than are there. Retry reads the window again.",
    "outcomes": "The merge counted keys twice or not at all. Please report this as a defect.",
    "target_rows": "Rows that this run merged are gone from the target. Retry reads the window again.",
    "staged_quarantined": "A staged file of rows set aside is missing or was changed. Retry reads them again.",
    "copied_quarantined": "COPY loaded other rows set aside than the files hold. Retry reads the window again.",
    "stage_quarantined": "Rows set aside were removed from the stage, or added. Retry reads the window again.",
    "merged_quarantined": "The merge set other rows aside than are in the stage. Retry reads the window again.",
    "quarantine_rows": "Rows that this run set aside are gone from the quarantine table. Retry reads them again.",
}


def transfer_links(
    manifest: Manifest, counts: Counts, copied: int | None, copied_aside: int | None = 0, *, asserted: int | None
) -> list[Link]:
    """The chain up to the stage table. `copied`: rows that COPY reported, `copied_aside`: the same of those that
    are set aside. `asserted`: a user's stage count."""
    if asserted is not None:
        return [
            Link("source_count", None, None, ASSERTED),
            Link("rows_read", asserted, None, ASSERTED),
            Link("stage_rows", counts.stage_rows, asserted, "query"),
        ]
    kinds = "+".join(sorted({part.kind.value for part in manifest.parts}))
    source, read = manifest.source_count, sum(part.rows_read for part in manifest.parts)
    set_aside = [Link(SET_ASIDE, manifest.quarantined, None, "footers")] if manifest.side_chunks else []
    return [
        Link("source_count", source, None, kinds if source is not None else NOT_OFFERED),
        Link("rows_read", read, source, "reader"),
        *set_aside,
        Link("footer_rows", manifest.rows, read - manifest.quarantined, "footers"),
        Link("staged_rows", counts.staged_rows, manifest.rows, counts.staged_how),
        Link("copied_rows", copied, counts.staged_rows, "COPY"),
        Link("stage_rows", counts.stage_rows, copied, "query"),
        *side_links(manifest, counts, copied_aside),
    ]


def side_links(manifest: Manifest, counts: Counts, copied: int | None) -> list[Link]:
    """The chain of the rows that are set aside, up to their stage table; none where there are none."""
    if not manifest.side_chunks:
        return []
    return [
        Link("staged_quarantined", counts.staged_aside, manifest.quarantined, counts.staged_how),
        Link("copied_quarantined", copied, counts.staged_aside, "COPY"),
        Link("stage_quarantined", counts.stage_aside, copied, "query"),
    ]


def quarantine_links(merged: MergeCounts, counts: Counts) -> list[Link]:
    """The rest of it. A run that merged since may have read the span again, and told its rows anew."""
    if not merged.quarantined and not counts.stage_aside:
        return []
    again = counts.read_again
    return [
        Link("merged_quarantined", merged.quarantined, counts.stage_aside, "query in the merge"),
        Link(
            "quarantine_rows",
            counts.quarantine_rows,
            None if again else merged.quarantined,
            "query, after a later run" if again else "query",
        ),
    ]


def target_links(merged: MergeCounts, counts: Counts) -> list[Link]:
    """The chain from the stage table to the target: what the merge counted, and the target now."""
    outcomes = merged.inserted + merged.updated + merged.older + merged.unchanged
    return [
        Link("merged_rows", merged.stage_rows, counts.stage_rows, "query in the merge"),
        Link("distinct_keys", merged.distinct_keys, None, "query in the merge"),
        Link("outcomes", outcomes, merged.distinct_keys, "inserted + updated + older + unchanged"),
        Link("target_rows", counts.target_rows, merged.distinct_keys, "query"),
        *quarantine_links(merged, counts),
    ]


def links_of_another(how: str, held: Held | None) -> list[Link]:
    """The end of the chain where no merge of ours was made: nobody can say what it did, only what is there now."""
    links = [Link("receipt", None, None, how)]
    return links if held is None else [*links, Link("target_rows", held.held, None, "query")]


def judge(links: Sequence[Link]) -> Proof:
    """FAILED at the first link that does not hold, or is gone though we count it ourselves.

    UNPROVEN if the source offers no count or a user's function vouches for one; else PASSED.
    """
    for link in links:
        gone = link.count is None and link.name in HINTS
        if gone or not link.holds:
            return Proof(tuple(links), ValidationStatus.FAILED, link)
    unproven = any(link.count is None or link.how == ASSERTED for link in links)
    return Proof(tuple(links), ValidationStatus.UNPROVEN if unproven else ValidationStatus.PASSED)


def within_tolerance(expected: int, found: int, tolerance_percent: float) -> bool:
    """True if `found` differs from `expected` by at most `tolerance_percent` of `expected`."""
    return abs(found - expected) * 100 <= tolerance_percent * expected


def figures(proof: Proof) -> Mapping[str, Any]:
    """The proof as it stands in a phase's column."""
    links = [msgspec.structs.asdict(link) for link in proof.links]
    return {
        "validation_status": proof.status.value,
        "proof": links,
        "broken_link": proof.broken.name if proof.broken else None,
    }
