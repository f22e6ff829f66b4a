"""Logs: one line for each transition, for people and machines alike, no error twice in ten seconds (O-7, O-8)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import warnings
from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import pytest

from service.events import (
    AdminActed,
    ConfigRefused,
    DaemonStopped,
    Event,
    LookFailed,
    PhaseRetried,
    RowsRead,
    RunFenced,
    RunLeft,
    TargetCleaned,
    TickNoted,
)
from service.log_line import NAMES, Line, line_of
from service.logs import Lines, Masking, libraries, log_lines
from state.errors import SluicewayError
from state.model import Phase
from tests.unit.metric_script import (
    P1,
    P2,
    P3,
    P4,
    P5,
    START,
    audited,
    failed,
    failure,
    finished,
    merged,
    read,
    run,
    whole_run,
    whole_story,
)

NOW = datetime(2025, 11, 15, 10, 0, 0, 250, tzinfo=UTC)


class Clock:
    """Monotonic seconds that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Log:
    """Lines written into memory at a fixed time."""

    def __init__(self, *, as_json: bool = True, level: int = logging.INFO) -> None:
        self.text = io.StringIO()
        self.clock = Clock()
        self.lines = Lines(self.text, json=as_json, level=level, clock=self.clock, now=lambda: NOW)

    def hear(self, *events: Event) -> Log:
        for event in events:
            self.lines.hear(event)
        return self

    @property
    def written(self) -> list[dict]:
        return [json.loads(line) for line in self.text.getvalue().splitlines()]

    @property
    def said(self) -> list[str]:
        return self.text.getvalue().splitlines()


def line(event: Event) -> dict:
    """The one line of an event, without what is the same in all."""
    [written] = Log(level=logging.DEBUG).hear(event).written
    assert written.pop("time") == "2025-11-15T10:00:00.000250Z"
    return written


OF_THE_RUN = {
    "pipeline": "flights",
    "run": "flights_20251115_00h_run1",
    "window": "[2025-11-15T00:00Z, 2025-11-15T01:00Z)",
    "attempt": 1,
    "token": 7,
}


def test_every_event_but_the_rows_inside_a_part_is_a_line_of_its_name():
    log = Log(level=logging.DEBUG)
    told = [event for event in whole_story() if not isinstance(event, RowsRead)]
    for event in told:
        log.hear(event)
        log.clock.now += 60
    assert [written["event"] for written in log.written] == [NAMES[type(event)] for event in told]
    assert set(NAMES) == set(get_args(Event))
    assert line_of(RowsRead(run(), 1), NOW) is None


def test_a_line_has_the_declared_fields_and_no_other_o7():
    declared = {field.name for field in msgspec.structs.fields(Line)}
    for written in Log(level=logging.DEBUG).hear(*whole_story()).written:
        assert set(written) <= declared
        assert msgspec.convert(written, Line) is not None
        assert list(written)[:3] == ["time", "level", "event"]
        assert not any(isinstance(value, dict | list) for value in written.values())


def test_a_phase_that_ended_tells_rows_bytes_and_seconds_o7():
    assert line(finished(read(run()), P3, 4.25)) == {
        "level": "info",
        "event": "phase_finished",
        **OF_THE_RUN,
        "phase": "source_to_stage_transfer",
        "status": "COMPLETED",
        "seconds": 4.25,
        "rows": 100,
        "bytes": 1100,
        "chunks": 3,
        "parts": 2,
    }


def test_a_merge_tells_what_became_of_the_rows():
    told = line(finished(merged(run()), P4, 2.0))
    counts = {
        "rows": 100,
        "inserted": 50,
        "updated": 20,
        "unchanged": 15,
        "older": 5,
        "duplicates": 10,
        "deleted": 3,
    }
    assert counts.items() <= told.items()


def test_an_audit_tells_its_counts_and_its_verdict():
    told = line(finished(audited(run(), "DRIFT"), P5, 2.0))
    counts = {"source_count": 100, "stage_count": 100, "target_count": 90, "validation_status": "DRIFT"}
    assert counts.items() <= told.items()


def test_a_retry_tells_class_code_and_when_it_goes_on():
    assert line(PhaseRetried(run(), P3, 2, timedelta(seconds=1.5), "transient", "429", "too busy")) == {
        "level": "warning",
        "event": "phase_retried",
        **OF_THE_RUN,
        "phase": "source_to_stage_transfer",
        "tries": 2,
        "wait_seconds": 1.5,
        "kind": "transient",
        "code": "429",
        "message": "too busy",
    }


def kinds() -> list[str]:
    found, todo = [], [SluicewayError]
    while todo:
        todo += (below := todo.pop().__subclasses__())
        found += [error.kind for error in below if error.kind != "fenced"]  # ends without a failure
    return sorted(set(found))


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("quarantined", [False, True])
def test_a_failure_tells_what_and_where_and_if_the_data_is_safe_and_what_comes_next_o8(kind, quarantined):
    told = line(failed(run(), failure(P4, kind, "a_code", "It broke."), quarantined=quarantined))
    assert OF_THE_RUN.items() <= told.items()
    assert (told["phase"], told["kind"], told["code"]) == (P4, kind, "a_code")
    assert (told["message"], told["hint"]) == ("It broke.", "Mend it.")
    assert told["safe"].endswith(".")
    assert (told["level"], told["quarantined"]) == (("error", True) if quarantined else ("warning", False))
    if quarantined:
        assert told["happens"] == "Nothing by itself: an operator decides."
        assert told["command"] == "sluiceway retry flights_20251115_00h_run1"
    else:
        assert told["happens"] == "It is tried again at 2025-11-15T01:00Z."
        assert told["next_attempt_at"] == "2025-11-15T01:00:00.000000Z"


def test_levels_say_who_has_to_act():
    events = {type(event): event for event in whole_story() if not isinstance(event, RowsRead)}
    levels = {NAMES[kind]: line(event)["level"] for kind, event in events.items()}
    assert {name for name, level in levels.items() if level == "debug"} == {"looked"}
    assert {name for name, level in levels.items() if level == "error"} == {"run_failed", "config_refused"}
    assert {name for name, level in levels.items() if level == "warning"} == {
        *(
            "memory_short",
            "phase_retried",
            "cleaning_failed",
            "run_fenced",
            "run_left",
            "tick_noted",
            "look_failed",
            "freshness_missed",
        )
    }
    assert line(DaemonStopped(1))["level"] == "error"


def test_a_look_that_found_nothing_new_is_no_line_unless_asked_for():
    looked = [event for event in whole_story() if NAMES[type(event)] == "looked"]
    assert Log().hear(*looked).written == []
    assert line(looked[0])["oldest_open"] == "2025-11-15T02:00:00.000000Z"


def look_failed(number: int = 0, code: str = "unreachable", pipeline: str = "flights") -> LookFailed:
    return LookFailed(pipeline, "transient", code, f"nobody there, try {number}", "Wait.")


def test_a_repeated_error_is_written_once_in_ten_seconds_with_the_number_of_the_others_o7():
    log = Log()
    for number in range(25):
        log.hear(look_failed(number))
        log.clock.now += 1
    told = [(written["message"][-2:].strip(), written.get("suppressed")) for written in log.written]
    assert told == [("0", None), ("10", 9), ("20", 9)]


def test_what_was_held_back_comes_out_with_the_next_event_after_ten_seconds():
    log = Log().hear(look_failed(0), look_failed(1), look_failed(2))
    log.clock.now += 11
    log.hear(TickNoted("other", "missed"))
    assert [(written["event"], written.get("suppressed")) for written in log.written] == [
        ("look_failed", None),
        ("look_failed", 1),
        ("tick_noted", None),
    ]
    assert log.written[1]["message"] == "nobody there, try 2"
    log.clock.now += 3
    assert len(log.hear(look_failed(3)).written) == 3  # ten seconds from when it was written last


def test_what_was_held_back_comes_out_at_the_end():
    log = Log().hear(look_failed(0), look_failed(1), DaemonStopped(0))
    assert [written["event"] for written in log.written] == ["look_failed", "look_failed", "daemon_stopped"]


async def test_what_was_held_back_comes_out_after_ten_seconds_though_nothing_else_is_told(monkeypatch):
    log = Log().hear(look_failed(0), look_failed(1))
    log.clock.now += 11
    monkeypatch.setattr("service.logs.REPEATS_SECONDS", 0)
    keeping = asyncio.create_task(log.lines.keep())
    for _ in range(3):
        await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert [written["message"] for written in log.written] == ["nobody there, try 0", "nobody there, try 1"]


def test_what_was_held_back_for_less_than_ten_seconds_still_waits():
    log = Log().hear(look_failed(0), look_failed(1))
    log.clock.now += 9
    log.lines.remind()
    assert len(log.written) == 1


def test_each_run_that_went_into_other_hands_is_told_of_g6():
    """A process that slept loses many runs of a pipeline at once: what became of each stands in the log."""
    lost = [kind(run(number=n), "lost") for n in range(3) for kind in (RunFenced, RunLeft)]
    told = [(written["event"], written["run"]) for written in Log().hear(*lost).written]
    assert told == [(NAMES[type(event)], event.run.name) for event in lost]


def test_errors_that_differ_are_all_written():
    log = Log().hear(look_failed(), look_failed(code="credential"), look_failed(pipeline="other"))
    log.hear(*(PhaseRetried(run(), phase, 1, timedelta(), "transient", "429", "") for phase in (P2, P3)))
    assert len(log.written) == 5


def test_runs_that_wait_for_an_operator_and_transitions_are_never_held_back():
    quarantined = [failed(run(number=n), failure(P4, "permanent", "x"), quarantined=True) for n in range(5)]
    refused = [ConfigRefused(f"{n}.yaml", ("no",)) for n in range(5)]
    assert len(Log().hear(*quarantined, *refused, *[finished(run(), P1, 0.1)] * 5).written) == 15


def test_errors_that_are_over_are_not_remembered():
    log = Log()
    for number in range(1_000):
        log.hear(look_failed(pipeline=f"p{number}"))
    log.clock.now += 11
    log.hear(TickNoted("other", "missed"))
    assert len(log.lines._repeats._seen) == 1


def test_a_person_reads_sentences_and_what_to_do():
    log = Log(as_json=False).hear(*whole_run()[:2], failed(run(), failure(P4, "transient", "429", "Too busy.")))
    log.hear(failed(run(), failure(P4, "contract", "value", "No."), quarantined=True), look_failed())
    where = "flights_20251115_00h_run1: FAILED in stage_to_target_transfer:"
    unmerged = "The target is unchanged: this run has not been merged. What was read and staged is kept."
    assert log.said == [
        "2025-11-15T10:00:00Z flights: 2 windows opened, from [2025-11-15T00:00Z, 2025-11-15T01:00Z)"
        " to [2025-11-15T01:00Z, 2025-11-15T02:00Z)",
        f"2025-11-15T10:00:00Z WARNING {where} Too busy. [transient 429] {unmerged}"
        " It is tried again at 2025-11-15T01:00Z. Mend it.",
        f"2025-11-15T10:00:00Z ERROR {where} No. [contract value] {unmerged}"
        " Nothing by itself: an operator decides. Mend it.",
        "2025-11-15T10:00:00Z WARNING flights: a look failed: nobody there, try 0 [transient unreachable]"
        " No run was touched. The next look comes by itself. Wait.",
    ]


def test_every_event_of_the_daemon_is_a_sentence():
    quiet = {"run_claimed", "phase_started", "phase_finished", "looked", "rows_read"}
    for event in whole_story():
        log = Log(as_json=False, level=logging.DEBUG).hear(event)
        assert bool(log.said) != (NAMES[type(event)] in quiet), event
    for what in ("missed", "overlapping", "failed"):
        assert what in Log(as_json=False).hear(TickNoted("p", what)).said[0]


def test_an_act_on_no_pipeline_names_none():
    [said] = Log(as_json=False).hear(AdminActed("ann", "reload", "", "", "r-1", "asked")).said
    assert said.endswith("Z ann asked for reload: asked")


def test_a_message_cannot_look_like_a_line_of_its_own():
    forged = "no\n2025-11-15T10:00:00Z all is well\x1b[2J\x00"
    log = Log(as_json=False).hear(RunFenced(run(), forged))
    assert [text[:4] for text in log.said] == ["2025", "    "]
    assert "\x1b" not in log.text.getvalue()
    [written] = Log().hear(RunFenced(run(), forged)).written
    assert written["message"] == forged


def test_odd_texts_are_written_all_the_same():
    [written] = Log().hear(RunFenced(run(), "half \ud800 of it" + "x" * 20_000)).written
    assert written["message"].startswith("half ? of it")
    assert len(written["message"]) == 8_001


@pytest.mark.parametrize("trouble", [BrokenPipeError(), OSError("no space left"), ValueError("closed file")])
def test_a_reader_that_went_away_ends_nothing(trouble):
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise trouble

    hear = log_lines(Gone(), json=True)
    for event in whole_story():
        hear(event)


@pytest.fixture
def noted():
    """What a logger of a library leaves in the log while it is listened to."""
    log = Log()
    with libraries(log.lines, logging.DEBUG):
        yield log


@pytest.fixture
def chatty():
    """A logger of that name that says everything."""
    loggers = []

    def chatty(name: str) -> logging.Logger:
        loggers.append(logger := logging.getLogger(name))
        logger.setLevel(logging.DEBUG)
        return logger

    yield chatty
    for logger in loggers:
        logger.setLevel(logging.NOTSET)


def test_what_a_library_logs_comes_in_the_same_form(noted):
    logging.getLogger("some.library").warning("%d connections left", 3)
    [written] = noted.written
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", written.pop("time"))
    assert written == {
        "level": "warning",
        "event": "log",
        "logger": "some.library",
        "message": "3 connections left",
    }


def test_an_exception_of_a_library_comes_with_its_traceback(noted):
    try:
        raise KeyError("who")
    except KeyError:
        logging.getLogger("some.library").exception("it broke")
    [written] = noted.written
    assert written["message"].startswith("it broke\nTraceback (most recent call last):\n")
    assert written["message"].endswith("KeyError: 'who'")


def test_a_record_whose_arguments_do_not_fit_is_told_as_it_is():
    log = Log()
    log.lines.note(logging.LogRecord("some.library", logging.ERROR, "", 1, "%d rows", ("many",), None))
    assert log.written[0]["message"] == "%d rows ('many',)"


def test_drivers_are_heard_from_info_on_and_no_lower_x9(noted, chatty):
    for name in ("snowflake.connector.network", "pymysql", "elastic_transport.transport", "aiohttp.client"):
        logger = chatty(name)
        logger.debug("POST with everything in it")
        logger.info("that was a request")
    chatty("some.library").debug("harmless")
    assert [written["message"] for written in noted.written] == ["that was a request"] * 4 + ["harmless"]


def test_pythons_warnings_are_lines_too(noted):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("this is deprecated", DeprecationWarning, stacklevel=1)
    [written] = noted.written
    assert (written["logger"], "this is deprecated" in written["message"]) == ("py.warnings", True)


def test_a_warning_that_comes_up_while_a_line_is_written_is_written_too():
    class Warning_(io.StringIO):
        def write(self, text: str) -> int:
            if "daemon_stopped" in text:
                logging.getLogger("some.library").warning("in the midst of it")
            return super().write(text)

    stream = Warning_()
    lines = Lines(stream, json=True)
    with libraries(lines):
        lines.hear(DaemonStopped(0))
    assert len(stream.getvalue().splitlines()) == 2


def test_a_library_that_repeats_itself_is_held_back_whatever_it_fills_in(noted):
    for number in range(5):
        logging.getLogger("some.library").warning("try %d failed", number)
        logging.getLogger("some.library").info("step %d", number)
    levels = [written["level"] for written in noted.written]
    assert levels.count("warning") == 1


def test_nothing_is_listened_to_any_more_afterwards():
    log = Log()
    before = list(logging.getLogger().handlers)
    with libraries(log.lines):
        pass
    logging.getLogger("some.library").warning("nobody hears")
    assert log.written == []
    assert logging.getLogger().handlers == before


def test_a_handler_of_anybody_is_masked_by_the_filter():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Masking())
    logger = logging.Logger("some.library")
    logger.addHandler(handler)
    try:
        raise ValueError("password=hunter22 was refused")
    except ValueError:
        logger.exception("login with %s", {"Authorization": "Bearer abc-123456"})
    said = stream.getvalue()
    assert "hunter22" not in said
    assert "abc-123456" not in said
    assert "ValueError: password=*** was refused" in said


def test_dry_runs_are_told_as_such():
    cleaned = next(event for event in whole_run() if isinstance(event, TargetCleaned))
    dry = TargetCleaned(cleaned.run, cleaned.found, START, dry_run=True)
    assert (line(cleaned)["removed"], line(cleaned)["dry_run"]) == (12, False)
    assert line(dry)["dry_run"] is True


def test_the_phases_are_named_as_everywhere():
    assert {line(finished(run(), phase, 1.0))["phase"] for phase in Phase} == set(Phase)
