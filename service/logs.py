"""Logs: one line for each transition, JSON for machines and sentences for people, from the same events.

A listener never raises: whoever reads the log may be gone, and the work goes on. No secret leaves here: free texts
are masked, those of libraries too. An error that comes again within ten seconds is counted, not written (O-7).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import RLock
from typing import NoReturn

import msgspec

from service.bench import utc_now
from service.events import (
    AdminActed,
    ConfigRefused,
    DaemonStarted,
    DaemonStopped,
    DrainBegan,
    Emit,
    Event,
    FreshnessBack,
    FreshnessMissed,
    Listening,
    LookFailed,
    MemoryEased,
    MemoryShort,
    PipelineAdded,
    PipelineRemoved,
    RunFailed,
    RunFenced,
    RunLeft,
    TickNoted,
)
from service.log_line import LOG_RECORD, Line, clean, level_of, line_of, rfc3339
from service.log_records import Masking, is_chatter, worded
from service.log_stream import Background, Sink
from service.progress import sentence
from state.masking import mask

__all__ = ["Lines", "Masking", "in_background", "libraries", "log_lines", "mask"]

PORTS = {"health": "probes and metrics", "admin": "status page and admin API"}
REPEATS_SECONDS = 10.0
"""An error is written at most once in this time."""

LAST_SECONDS = 5.0
"""How long the end of a log is waited for."""


def log_lines(stream: Sink, *, json: bool) -> Emit:
    """A listener that writes each transition to `stream`: as JSON, or as a sentence if it has one."""
    return Lines(stream, json=json).hear


class Lines:
    """Writes lines of `level` or above to `stream`, from any thread. `clock`: monotonic seconds."""

    def __init__(
        self,
        stream: Sink,
        *,
        json: bool,
        level: int = logging.INFO,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._stream = stream
        self._json = json
        self._level = level
        self._clock = clock
        self._now = now
        self._lock = RLock()  # a warning may come up while a line is written, and is one itself
        self._repeats = Repeats()

    def hear(self, event: Event) -> None:
        """Write an event's line."""
        level = level_of(event)
        line = line_of(event, self._now()) if level >= self._level else None
        if line is None:
            return
        if isinstance(event, DaemonStopped):
            self.close()
        text = "" if self._json else said(event, line)
        self._tell(Told(line, text), same(event, line) if level >= logging.WARNING else None)

    def note(self, record: logging.LogRecord) -> None:
        """Write what a library logged, whatever its level."""
        at = datetime.fromtimestamp(record.created, UTC)
        level, message = record.levelname.lower(), clean(worded(record))
        line = Line(time=rfc3339(at), level=level, event=LOG_RECORD, logger=record.name, message=message)
        key = (record.name, record.levelno, str(record.msg)) if record.levelno >= logging.WARNING else None
        self._tell(Told(line, f"{record.name}: {message}"), key)

    def close(self) -> None:
        """Write the errors that are held back; lines may follow."""
        with self._lock:
            for told in self._repeats.all():
                self._write(told)

    async def keep(self) -> NoReturn:
        """For ever: write what was held back for ten seconds, though nothing else is told. Run it as a task of its
        own."""
        while True:
            await asyncio.sleep(REPEATS_SECONDS)
            self.remind()

    def remind(self) -> None:
        """Write what was held back for ten seconds."""
        with self._lock:
            for held in self._repeats.over(self._clock()):
                self._write(held)

    def _tell(self, told: Told, key: Hashable | None) -> None:
        with self._lock:
            now = self._clock()
            own = told if key is None else self._repeats.admitted(key, told, now)
            for held in self._repeats.over(now):
                self._write(held)
            if own is not None:
                self._write(own)

    def _write(self, told: Told) -> None:
        """A reader that went away, or a stream that was closed, ends nothing."""
        text = msgspec.json.encode(told.line).decode() if self._json else told.human()
        if text:
            with suppress(OSError, ValueError):
                self._stream.write(text + "\n")
                self._stream.flush()


@dataclass(frozen=True)
class Told:
    """A line, and what it says to a person."""

    line: Line
    text: str

    def human(self) -> str:
        """`time LEVEL text`; further lines are indented, so that none looks like one of its own."""
        if not self.text:
            return ""
        more = f" ({self.line.suppressed} more like it)" if self.line.suppressed else ""
        level = "" if self.line.level == "info" else f"{self.line.level.upper()} "
        printable = "".join(c if c.isprintable() or c in "\n\t" else "�" for c in self.text)
        return f"{self.line.time[:19]}Z {level}" + "\n    ".join(printable.splitlines()) + more

    def after(self, suppressed: int) -> Told:
        """The same, with the number of those like it that were not written."""
        if not suppressed:
            return self
        return Told(msgspec.structs.replace(self.line, suppressed=suppressed), self.text)


@dataclass
class _Repeated:
    until: float
    count: int = 0
    last: Told | None = None


class Repeats:
    """Which errors were written in the last ten seconds, and the newest of those that were held back since."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Repeated] = {}
        self._next = 0.0

    def admitted(self, key: Hashable, told: Told, now: float) -> Told | None:
        """What to write now: `told`, with the count of those held back before it; None if it is held back too."""
        seen = self._seen.get(key)
        if seen is not None and now < seen.until:
            seen.count, seen.last = seen.count + 1, told
            return None
        self._next = self._next if self._seen else now + REPEATS_SECONDS
        self._seen[key] = _Repeated(now + REPEATS_SECONDS)
        return told.after(seen.count if seen else 0)

    def over(self, now: float) -> Iterator[Told]:
        """What was held back and has waited for ten seconds."""
        if now < self._next:
            return
        for key, seen in list(self._seen.items()):
            if now < seen.until:
                continue
            if seen.last is None:
                del self._seen[key]
            else:
                self._seen[key] = _Repeated(now + REPEATS_SECONDS)
                yield seen.last.after(seen.count - 1)
        self._next = min((seen.until for seen in self._seen.values()), default=now)

    def all(self) -> Iterator[Told]:
        """Everything that is held back."""
        for seen in list(self._seen.values()):
            if seen.last is not None:
                yield seen.last.after(seen.count - 1)
        self._seen.clear()


def same(event: Event, line: Line) -> Hashable | None:
    """What makes two warnings the same error; None: each is written.

    A run that waits for a person is told of, and where one went that this process holds no more: it says so once.
    """
    if isinstance(event, ConfigRefused | RunFenced | RunLeft):
        return None
    if isinstance(event, RunFailed) and line.level == "error":
        return None
    return (line.event, line.pipeline, line.phase, line.what, line.kind, line.code)


def said(event: Event, line: Line) -> str:
    """What a line says to a person, with what to do about an error; empty if nothing."""
    text = clean(sentence(event)) or about_daemon(event)
    coded = f"[{line.kind} {line.code}]" if line.code else ""
    return " ".join(part for part in (text, coded, line.safe, line.happens, line.hint) if part) if text else ""


def about_daemon(event: Event) -> str:
    """Sentences about the process and its pipelines rather than about a run."""
    match event:
        case LookFailed(pipeline=pipeline, message=message):
            return f"{pipeline}: a look failed: {clean(message)}"
        case TickNoted(pipeline=pipeline, what=what):
            return f"{pipeline}: a tick was {what}" if what != "failed" else f"{pipeline}: a tick failed"
        case FreshnessMissed(pipeline=pipeline, behind=behind):
            return f"{pipeline}: {behind.total_seconds():.0f} s behind, more than its configuration allows"
        case FreshnessBack(pipeline=pipeline):
            return f"{pipeline}: has caught up"
        case PipelineAdded(pipeline=pipeline):
            return f"{pipeline}: attended to from now on"
        case PipelineRemoved(pipeline=pipeline):
            return f"{pipeline}: attended to no more, its file is gone"
        case ConfigRefused(file=file, problems=problems):
            return clean(f"{file} is refused; its last valid form, if any, goes on: {'; '.join(problems)}")
    return about_process(event)


def about_process(event: Event) -> str:
    match event:
        case DaemonStarted(version=version):
            return f"sluiceway {version} started"
        case Listening(what=what, address=address):
            return f"{PORTS[what]}: {address}"
        case MemoryShort(used=used, limit=limit):
            return f"memory is short, {used >> 20} of {limit >> 20} MiB: runs walk one at a time"
        case MemoryEased(used=used, limit=limit):
            return f"memory is eased, {used >> 20} of {limit >> 20} MiB: runs walk side by side"
        case DrainBegan(runs=runs):
            return f"told to stop: {runs} runs go to their next checkpoint"
        case DaemonStopped(exit_code=exit_code):
            return f"stopped with exit code {exit_code}"
        case AdminActed(actor=actor, action=action, pipeline=pipeline, subject=subject, result=result):
            asked = f"{actor} asked for {action} {subject}".rstrip()
            return clean(f"{pipeline}: {asked}: {result}" if pipeline else f"{asked}: {result}")
    return ""


class _Handler(logging.Handler):
    def __init__(self, lines: Lines, level: int) -> None:
        super().__init__(level)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if not is_chatter(record):
            self._lines.note(record)


@contextmanager
def libraries(lines: Lines, level: int = logging.WARNING) -> Iterator[None]:
    """What libraries log from `level` on, and Python's warnings, go to `lines` while the context is open."""
    handler = _Handler(lines, level)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)


@contextmanager
def in_background(stream: Sink, *, json: bool, level: int = logging.INFO) -> Iterator[Lines]:
    """Lines written to `stream` by a thread, for a process whose event loop must not wait for a reader.

    What is left at the end is written, for some seconds at most.
    """
    queue = Background(stream, lambda count: lost(count, json=json))
    lines = Lines(queue, json=json, level=level)
    try:
        yield lines
    finally:
        lines.close()
        queue.close(LAST_SECONDS)


def lost(count: int, *, json: bool) -> str:
    """The line that stands for `count` lines that could not be written."""
    line = Line(time=rfc3339(utc_now()), level="error", event="lines_lost", lines=count)
    told = Told(line, f"{count} lines were lost here: whoever reads this log was too slow")
    return (msgspec.json.encode(line).decode() if json else told.human()) + "\n"
