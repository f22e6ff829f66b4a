"""The query tag: JSON that fits, and nothing in it but where a statement belongs (N-4, X-9)."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.snowflake.tag import LONGEST, Tag

WORDS = st.none() | st.text(max_size=3000)


def test_a_tag_tells_where_a_statement_belongs():
    tag = Tag(
        pipeline="flights", run="flights_20251115_10h_run1", window="2025-11-15T10", attempt=3, phase="audit"
    )
    assert json.loads(str(tag)) == {"app": "sluiceway", **dataclasses.asdict(tag)}


def test_what_is_not_known_is_left_out():
    assert json.loads(str(Tag(phase="claim"))) == {"app": "sluiceway", "phase": "claim"}


def test_a_tag_has_no_other_fields_x9():
    assert [field.name for field in dataclasses.fields(Tag)] == ["pipeline", "run", "window", "attempt", "phase"]


@given(WORDS, WORDS, WORDS, st.none() | st.integers(0, 2**63), WORDS)
def test_every_tag_is_json_that_snowflake_keeps_whole_n4(pipeline, run, window, attempt, phase):
    told = str(Tag(pipeline, run, window, attempt, phase))
    assert len(told) <= LONGEST
    assert told.isascii()
    read = json.loads(told)
    assert read.get("attempt") == attempt
    for name, value in (("pipeline", pipeline), ("run", run), ("window", window), ("phase", phase)):
        assert value is None or value.startswith(read[name])


@pytest.mark.parametrize("letter", ["x", "é", '"', "\0", "😀"])
def test_a_tag_of_long_names_keeps_something_of_each_n4(letter):
    told = str(Tag(letter * 3000, letter * 3000, letter * 3000, 1, letter * 3000))
    assert len(told) <= LONGEST
    assert all(len(json.loads(told)[name]) > 20 for name in ("pipeline", "run", "window", "phase"))


def test_a_tag_that_fits_is_not_cut():
    name = "n" * 1900
    assert json.loads(str(Tag(pipeline=name)))["pipeline"] == name
