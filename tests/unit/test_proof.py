"""The chain of counts: G-16 (conservation), design 5.6."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from loaders.base import Counts
from service.proof import judge, target_links, transfer_links, within_tolerance
from state.errors import AuditMismatch
from state.model import Chunk, Manifest, MergeCounts, Part, SnapshotKind, ValidationStatus, Window

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = Window(T0, T0 + timedelta(hours=1))
PART = Part(SPAN, (Chunk("a", 10, 1, "00"),), source_count=10, rows_read=10, kind=SnapshotKind.PIT)
MANIFEST = Manifest((PART,))
COUNTS = Counts(1, 10, 10, 8, "id")
MERGED = MergeCounts(10, 8, inserted=5, updated=1, older=1, unchanged=1)


def proof(manifest=MANIFEST, counts=COUNTS, copied=10, merged=MERGED, asserted=None):
    return judge([*transfer_links(manifest, counts, copied, asserted=asserted), *target_links(merged, counts)])


def test_equal_links_pass():
    assert proof().status is ValidationStatus.PASSED
    proof().require()


@pytest.mark.parametrize(
    ("link", "change"),
    [
        ("rows_read", {"manifest": Manifest((msgspec.structs.replace(PART, rows_read=9),))}),
        (
            "footer_rows",
            {"manifest": Manifest((msgspec.structs.replace(PART, chunks=(Chunk("a", 9, 1, "00"),)),))},
        ),
        ("staged_rows", {"counts": msgspec.structs.replace(COUNTS, staged_rows=9)}),
        ("copied_rows", {"copied": 11}),
        ("stage_rows", {"counts": msgspec.structs.replace(COUNTS, stage_rows=9)}),
        ("stage_rows", {"counts": msgspec.structs.replace(COUNTS, stage_rows=None)}),
        ("merged_rows", {"merged": msgspec.structs.replace(MERGED, stage_rows=11)}),
        ("outcomes", {"merged": msgspec.structs.replace(MERGED, inserted=6)}),
        ("target_rows", {"counts": msgspec.structs.replace(COUNTS, target_rows=7)}),
        ("target_rows", {"counts": msgspec.structs.replace(COUNTS, target_rows=None)}),
    ],
)
def test_every_link_that_differs_is_named_g16(link, change):
    broken = proof(**change)
    assert broken.status is ValidationStatus.FAILED
    with pytest.raises(AuditMismatch, match=f"'{link}'"):
        broken.require()


def test_a_source_without_count_is_unproven_and_never_filled_in():
    manifest = Manifest((msgspec.structs.replace(PART, source_count=None),))
    found = proof(manifest=manifest)
    assert found.status is ValidationStatus.UNPROVEN
    assert found.links[0].count is None
    assert found.links[0].how == "source offers no count"


def test_an_asserted_transfer_is_unproven_at_best():
    found = proof(asserted=10)
    assert found.status is ValidationStatus.UNPROVEN
    assert proof(asserted=11).broken.name == "stage_rows"


@pytest.mark.parametrize(("found", "ok"), [(100, True), (98, True), (102, True), (97, False), (103, False)])
def test_tolerance_is_a_percentage_of_what_was_expected(found, ok):
    assert within_tolerance(100, found, 2.0) is ok
    assert within_tolerance(0, 0, 0.0)
    assert not within_tolerance(0, 1, 50.0)
