"""How the demo speaks: numbered steps with what happens and why, bars where somebody watches, the time of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import wrap

import msgspec
from rich.console import RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from service.console import Console
from service.views import BAD, DIM, GOOD

INDENT = 2
TEXT_COLUMNS = 96
"""Prose is no wider than what is read well."""
LINES_PER_METER = 4
"""Where there is no terminal, a bar is this many lines."""


class Step(msgspec.Struct, frozen=True):
    """A step that is over, and its wall seconds."""

    name: str
    seconds: float


class Narrator:
    """Tells the demo to stdout, or to stderr where stdout is for a machine."""

    def __init__(self, console: Console, steps: int) -> None:
        self._paper = console.err if console.json else console.out
        self._steps = steps
        self._began = 0.0
        self._current = ""
        self.done: list[Step] = []

    @property
    def width(self) -> int:
        """Columns that there are for a table."""
        return self._paper.width - INDENT

    def title(self, text: str, below: str) -> None:
        self._paper.print(Text(text, style="bold"))
        self._paper.print(Text(below, style=DIM))

    def step(self, heading: str) -> None:
        """The next numbered step begins."""
        self.end_step()
        self._current, self._began = heading, time.monotonic()
        self._paper.print()
        self._paper.print(Text(f"[{len(self.done) + 1}/{self._steps}] {heading}", style="bold cyan"))

    def end_step(self) -> None:
        """The step at hand is over."""
        if self._current:
            self.done.append(Step(self._current, time.monotonic() - self._began))
            self._current = ""

    def say(self, text: str, style: str = "") -> None:
        """A paragraph; its own line breaks mean nothing."""
        self._print(" ".join(text.split()), style)

    def good(self, text: str) -> None:
        self.say(text, GOOD)

    def bad(self, text: str) -> None:
        self.say(text, BAD)

    def aside(self, text: str) -> None:
        self.say(text, DIM)

    def quote(self, text: str) -> None:
        """Lines as they are."""
        self._print(text, "bold")

    def _print(self, text: str, style: str) -> None:
        columns = min(self.width, TEXT_COLUMNS)
        for line in text.splitlines():
            for piece in wrap(line, columns, break_long_words=False, break_on_hyphens=False):
                self._paper.print(Text(" " * INDENT + piece, style=style), soft_wrap=True)

    def output(self, text: str) -> None:
        """What a program said, line by line, never wrapped by us."""
        self._paper.print()
        for line in text.strip("\n").splitlines():
            self._paper.print(Text(f"{' ' * INDENT}{line.rstrip()}"), soft_wrap=True)
        self._paper.print()

    def command(self, text: str) -> None:
        """Something that is, or can be, typed."""
        self._paper.print(Text(f"{' ' * INDENT}$ {text}", style="bold"), soft_wrap=True)

    def commands(self, what: str, *texts: str) -> None:
        """Commands that can be typed now, and what for."""
        self.aside(f"# {what}")
        for text in texts:
            self.command(text)

    def show(self, renderable: RenderableType) -> None:
        """A table, with air around it."""
        self._paper.print()
        self._paper.print(Padding(renderable, (0, 0, 0, INDENT), expand=False))
        self._paper.print()

    @contextmanager
    def meter(self, what: str, total: int) -> Iterator[Meter]:
        """A bar up to `total`: drawn on a terminal, a few lines elsewhere."""
        if not self._paper.is_terminal:
            yield Meter(total, lambda done, note: self.aside(f"{done:,} of {total:,} {what}  {note}"))
            return
        columns = (
            TextColumn(" " * (INDENT - 1)),
            BarColumn(bar_width=40),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.description}  {task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._paper) as progress:
            task = progress.add_task(what, total=total, note="")
            yield Meter(total, lambda done, note: progress.update(task, completed=done, note=note), often=True)


class Meter:
    """Counts up to `total` and shows it: each time, or `LINES_PER_METER` times."""

    def __init__(self, total: int, show: Callable[[int, str], object], *, often: bool = False) -> None:
        self._total = total
        self._show = show
        self._often = often
        self._shown = 0
        self.done = 0

    def advance(self, by: int, note: str = "") -> None:
        """So many more are done; `note` stands behind the figures."""
        self.done += by
        quarter = self.done * LINES_PER_METER // self._total
        if self._often or quarter > self._shown:
            self._shown = quarter
            self._show(self.done, note)
