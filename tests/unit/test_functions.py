"""User functions: the contract of design 4."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

from service import functions
from state.errors import ConfigurationError, PermanentError, TransientError
from state.model import Phase, PhaseRecord, PhaseStatus, Run, RunId, RunKind, Window

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run(
    RunId("d", "p", Window(T0, T0 + timedelta(hours=1)), 1),
    "p_20260101_00h_run1",
    RunKind.SCHEDULED,
    T0,
    T0,
    phases={Phase.AUDIT: PhaseRecord(PhaseStatus.COMPLETED, T0, T0, {"source_count": 5})},
)
ANSWER: object = {}
LOOP: list[object] = []
LOOP.append(LOOP)
SEEN: list[tuple[dict, dict]] = []


def sync(config, record):
    SEEN.append((config, record))
    if isinstance(ANSWER, BaseException):
        raise ANSWER
    return ANSWER


async def coroutine(config, record):
    return {"stage_count": 3, "batch": "b7"}


@pytest.fixture
def answer():
    def set_to(value):
        global ANSWER  # noqa: PLW0603
        ANSWER = value

    SEEN.clear()
    return set_to


HERE = f"{__name__}:sync"


async def test_record_is_the_drive_row_with_utc_timestamps(answer):
    answer({"stage_count": 3, "extra": 1})
    given = await functions.call(HERE, {"a": 1}, RUN, needs_count=True)
    config, record = SEEN[0]
    assert (given.stage_count, given.skip, given.figures) == (3, False, {"extra": 1})
    assert config == {"a": 1}
    assert record["pipeline_id"] == RUN.name
    assert record["query_window_start_timestamp"] == T0
    assert record["audit_phase"]["source_count"] == 5
    assert record["created_at"].tzinfo is UTC


async def test_async_functions_and_figures_of_their_own():
    given = await functions.call(f"{__name__}:coroutine", {}, RUN, needs_count=True)
    assert (given.stage_count, given.figures) == (3, {"batch": "b7"})


async def test_skip_needs_no_count(answer):
    answer({"skip_dag_run": True, "transfer_completed": False})
    assert (await functions.call(HERE, {}, RUN, needs_count=True)).skip


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ({"error_message": "no disk"}, PermanentError, "reported: no disk"),
        ({"transfer_completed": False}, TransientError, "not completed"),
        (None, PermanentError, "returned NoneType instead of a dict"),
        ({"stage_count": "3"}, PermanentError, "stage_count as str instead of int"),
        ({"stage_count": True}, PermanentError, "stage_count as bool instead of int"),
        ({"skip_dag_run": 1}, PermanentError, "skip_dag_run as int instead of bool"),
        ({}, PermanentError, "must return stage_count"),
        (TransientError("later"), TransientError, "later"),
        (KeyError("x"), PermanentError, "raised KeyError: 'x'"),
        ({"stage_count": 1, "odd": object()}, PermanentError, "returned 'odd', which has no JSON form"),
        ({"stage_count": 1, "deep": {"in": [1j]}}, PermanentError, "returned 'deep', which has no JSON form"),
        ({"stage_count": 1, "half": "\ud800"}, PermanentError, "returned 'half', which has no JSON form"),
        ({"stage_count": 1, (1, 2): 3}, PermanentError, r"returned \(1, 2\), which has no JSON form"),
        ({"stage_count": 1, "loop": LOOP}, PermanentError, "returned 'loop', which has no JSON form"),
    ],
)
async def test_answers_become_errors_that_name_the_function(answer, value, error, says):
    answer(value)
    with pytest.raises(error, match=says) as caught:
        await functions.call(HERE, {}, RUN, needs_count=True)
    assert HERE in str(caught.value) or isinstance(value, TransientError)


@pytest.mark.parametrize(
    ("reference", "says"), [("no_such_module_x:f", "cannot import"), (f"{__name__}:missing", "has no function")]
)
async def test_a_missing_function_is_a_configuration_error(reference, says):
    with pytest.raises(ConfigurationError, match=says):
        await functions.call(reference, {}, RUN)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def run(:", "SyntaxError: invalid syntax"),
        ("nowhere", "NameError: name 'nowhere' is not defined"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("from json import nothing_x", "ImportError: cannot import name 'nothing_x'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
async def test_a_module_that_fails_when_it_is_imported_is_a_configuration_error(
    tmp_path, monkeypatch, source, says
):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fails_at_import.py").write_text(source)
    with pytest.raises(ConfigurationError, match=says) as caught:
        await functions.call("fails_at_import:run", {}, RUN)
    assert "'fails_at_import:run'" in str(caught.value)


async def test_a_function_that_takes_long_takes_no_thread_that_others_need_s6():
    """The loop's own threads serve `/metrics`, pages and Parquet for all pipelines: on two cores there are six."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    began, go_on = asyncio.Event(), threading.Event()
    given = {"began": began.set, "loop": asyncio.get_running_loop(), "until": go_on}
    long = asyncio.create_task(functions.call(f"{__name__}:waits", given, RUN))
    try:
        async with asyncio.timeout(10):
            await began.wait()
            await asyncio.to_thread(lambda: None)
    finally:
        go_on.set()
    assert (await long).figures == {"waited": True}


def waits(config, record):
    config["loop"].call_soon_threadsafe(config["began"])
    return {"waited": config["until"].wait(60)}


async def test_a_module_that_takes_long_to_import_keeps_nobody_waiting(tmp_path, monkeypatch):
    """S-6: it is imported only while the event loop goes on."""
    (tmp_path / "slow_to_import.py").write_text(
        "import tests_gate\n"
        "assert tests_gate.OPENED.wait(20), 'the event loop stood still'\n"
        "def run(config, record): return {}\n"
    )
    gate = ModuleType("tests_gate")
    gate.OPENED = threading.Event()
    monkeypatch.setitem(sys.modules, "tests_gate", gate)
    monkeypatch.syspath_prepend(tmp_path)
    call = asyncio.create_task(functions.call("slow_to_import:run", {}, RUN))
    await asyncio.sleep(0.05)
    gate.OPENED.set()
    assert (await call).figures == {}
    monkeypatch.delitem(sys.modules, "slow_to_import")
