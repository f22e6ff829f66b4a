"""The nouns: names, digests, and what counts as done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from state.model import Chunk, Manifest, Part, Run, RunId, RunKind, Window, run_name

T0 = datetime(2025, 11, 15, 10, tzinfo=UTC)
W = Window(T0, T0 + timedelta(hours=1))


def part(rows: int, count: int | None, name: str = "a") -> Part:
    return Part(W, (Chunk(name, rows, 10, "00"),), source_count=count)


def test_run_names():
    assert run_name("flights", W, 1, scheduled=True) == "flights_20251115_10h_run1"
    odd = Window(T0 + timedelta(minutes=5), T0 + timedelta(hours=2, seconds=1))
    assert run_name("f", odd, 2, scheduled=False) == "f_20251115_10h05m_to_20251115_12h00m01s_run2"


def test_manifest_sums_and_knows_when_it_is_complete():
    assert not Manifest().complete
    assert not Manifest((part(1, 1), Part(W))).complete
    whole = Manifest((part(3, 3), part(4, 4, "b")))
    assert (whole.complete, whole.rows, whole.source_count, len(whole.chunks)) == (True, 7, 7, 2)
    assert Manifest((part(3, 3), part(4, None))).source_count is None


def test_manifest_digest_tells_contents_apart():
    assert Manifest((part(3, 3),)).digest == Manifest((part(3, 3),)).digest
    assert Manifest((part(3, 3),)).digest != Manifest((part(3, 3, "b"),)).digest


def test_run_survives_json():
    run = Run(RunId("d", "p", W, 1), "p_run1", RunKind.SCHEDULED, T0, T0, manifest=Manifest((part(1, 1),)))
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run
    assert run.id.hash != RunId("d", "p", W, 2).hash
