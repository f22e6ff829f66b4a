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


SET_ASIDE = Manifest(
    (msgspec.structs.replace(PART, source_count=13, rows_read=13, aside=(Chunk("q", 3, 1, "00"),)),)
)
MORE_READ = Manifest((msgspec.structs.replace(SET_ASIDE.parts[0], rows_read=14, source_count=14),))
SIDE_COUNTS = msgspec.structs.replace(COUNTS, staged_aside=3, stage_aside=3, quarantine_rows=3)
SIDE_MERGED = msgspec.structs.replace(MERGED, quarantined=3)


def with_rows_set_aside(manifest=SET_ASIDE, counts=SIDE_COUNTS, merged=SIDE_MERGED, copied_aside=3):
    links = transfer_links(manifest, counts, 10, copied_aside, asserted=None)
    return judge([*links, *target_links(merged, counts)])


def test_rows_set_aside_have_links_of_their_own_and_read_is_loaded_and_quarantined_g16():
    found = with_rows_set_aside()
    assert found.status is ValidationStatus.PASSED
    counted = {link.name: (link.count, link.expected) for link in found.links}
    assert [counted[name] for name in ("source_count", "rows_read", "quarantined_rows", "footer_rows")] == [
        (13, None),
        (13, 13),
        (3, None),
        (10, 10),
    ]
    assert not any("quarantine" in link.name for link in proof().links)


@pytest.mark.parametrize(
    ("link", "change"),
    [
        ("footer_rows", {"manifest": MORE_READ}),
        ("staged_quarantined", {"counts": msgspec.structs.replace(SIDE_COUNTS, staged_aside=2)}),
        ("copied_quarantined", {"copied_aside": 2}),
        ("copied_quarantined", {"copied_aside": None}),
        ("stage_quarantined", {"counts": msgspec.structs.replace(SIDE_COUNTS, stage_aside=None)}),
        ("merged_quarantined", {"merged": msgspec.structs.replace(SIDE_MERGED, quarantined=4)}),
        ("quarantine_rows", {"counts": msgspec.structs.replace(SIDE_COUNTS, quarantine_rows=2)}),
        ("quarantine_rows", {"counts": msgspec.structs.replace(SIDE_COUNTS, quarantine_rows=None)}),
    ],
)
def test_every_link_of_rows_set_aside_that_differs_is_named_g16(link, change):
    broken = with_rows_set_aside(**change)
    with pytest.raises(AuditMismatch, match=f"'{link}'"):
        broken.require()


def test_rows_that_a_later_run_tells_anew_are_not_missed():
    later = msgspec.structs.replace(SIDE_COUNTS, quarantine_rows=1, read_again=True)
    found = with_rows_set_aside(counts=later)
    assert found.status is ValidationStatus.PASSED
    assert (found.links[-1].count, found.links[-1].how) == (1, "query, after a later run")


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
