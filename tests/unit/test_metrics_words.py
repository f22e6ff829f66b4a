"""Codes and effects in labels: every one that the code has is known, and nothing else comes in (O-3)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from connectors.elasticsearch.errors import RULES
from loaders.archive_store import MEANINGS as ARCHIVE
from loaders.duckdb.errors import MEANINGS as DUCKDB
from service import metric_words
from service.error_codes import OTHER, bounded
from service.events import LookFailed
from service.metrics import Metrics
from service.proof import HINTS
from state.mysql.errors import MEANINGS as MYSQL
from state.snowflake.meanings import MEANINGS as SNOWFLAKE

ROOT = Path(__file__).parents[2]
ELSEWHERE = ("service/admin", "service/cli", "service/demo", "service/notify", "service/trial.py")
"""What these raise ends a command or a request, never a run or a look."""
WORD = re.compile(r"\w[\w.-]*")
NO_PORTS = {"snowflake.connector"}
"""Looks like one."""
FILES = [
    file
    for package in ("service", "connectors", "loaders", "state")
    for file in sorted((ROOT / package).rglob("*.py"))
    if not file.relative_to(ROOT).as_posix().startswith(ELSEWHERE)
]


@cache
def trees() -> list[ast.Module]:
    return [ast.parse(file.read_text()) for file in FILES]


def written_codes(tree: ast.AST) -> Iterator[str]:
    """Words that stand as `code=`, in either branch of a choice."""
    for node in ast.walk(tree):
        for given in node.keywords if isinstance(node, ast.Call) else ():
            if given.arg == "code":
                inside = [] if isinstance(given.value, ast.JoinedStr) else ast.walk(given.value)
                words = [one.value for one in inside if isinstance(one, ast.Constant)]
                yield from (word for word in words if isinstance(word, str) and WORD.fullmatch(word))


def codes() -> set[str]:
    """Every code that an error of a run can bear, as far as it is written somewhere."""
    found = {code for tree in trees() for code in written_codes(tree)}
    found |= {meaning.code for meaning in (*DUCKDB, *SNOWFLAKE, *ARCHIVE)}
    found |= {rule.type or str(rule.status) for rule in RULES} | {
        str(number) for row in MYSQL for number in row.numbers
    }
    found |= {*HINTS, "circuit_breaker_permanent", "source_count_live"}
    found |= {"cursor_missing", "key_missing", "where_missing"}
    found |= {f"over_{name}" for name in ("max_rows", "max_percent")}
    return {code.replace("{0}", "429") for code in found}


def test_every_code_of_an_error_is_known():
    missing = {code for code in codes() if bounded(code) != code}
    assert missing == set(), f"add them to service/error_codes.py: {sorted(missing)}"


@pytest.mark.parametrize("code", ["order 4711 of ann@example.com", "", "42", "http_200", "999", "Credential"])
def test_a_code_that_nobody_knows_is_other(code):
    assert bounded(code) == OTHER


def test_errors_without_end_make_no_series_without_end():
    metrics = Metrics()
    before = metrics.text()[0].count(b"\nsluiceway_errors_total{")
    for number in range(1_000):
        metrics.hear(LookFailed("p", f"kind {number}", f"code {number}", "", ""))
    text = metrics.text()[0]
    assert text.count(b"\nsluiceway_errors_total{") == before
    assert b'sluiceway_errors_total{class="error",code="other",phase="look"} 1000.0' in text


def effects() -> set[str]:
    """The first two words of every port that is written out somewhere."""
    found = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                port = re.fullmatch(
                    r"((?:source|loader|drive|spool|snowflake)\.[a-z_]+)(?:\.[a-z_]+)*", node.value
                )
                found |= {port[1]} if port else set()
    return found


def test_every_effect_is_known():
    found = effects()
    assert len(found) >= 30
    missing = {port for port in found if metric_words.effect(port) != port} - NO_PORTS
    assert missing == set(), f"add them to service/metric_words.py: {sorted(missing)}"
