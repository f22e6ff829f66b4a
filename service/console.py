"""Where a command speaks: data to stdout, progress and errors to stderr.

Tables are as wide as the terminal; where there is none they are wide enough never to be cut. `NO_COLOR` is
honoured. A reader that went away (`| head`) silences the output and never ends the work.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import UnsupportedOperation
from typing import Any

import msgspec
import rich.console
from rich.console import RenderableType

PIPED_COLUMNS = 140
"""Width of what is not a terminal: every table fits, and a log viewer still shows it."""
WIDE_COLUMNS = 110
"""From this width on, tables show windows with both ends."""
PANEL_COLUMNS = 100
"""Panels are no wider than what is read well."""


class Paper(rich.console.Console):
    """stdout or stderr, without markup: a bracket in a message is a bracket."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = PIPED_COLUMNS

    def on_broken_pipe(self) -> None:
        """Say nothing more; whatever is being done goes on, and its exit code stays its own."""
        self.quiet = True
        discard(self.file)

    @property
    def is_wide(self) -> bool:
        """True if windows fit with both ends."""
        return self.width >= WIDE_COLUMNS


class Console:
    """A command's two streams; with `json` only machines read stdout."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.out = Paper()
        self.err = Paper(stderr=True)

    def show(self, renderable: RenderableType) -> None:
        """Data for a person."""
        self.out.print(renderable)

    def line(self, text: str) -> None:
        """One line of data, never wrapped by us."""
        self.out.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """A remark beside the data, to stderr; wrapped where a person reads it."""
        self.err.print(text, soft_wrap=not self.err.is_terminal)

    def emit(self, data: Any) -> None:
        """Data for a machine: one JSON value."""
        write_json(data)


def write_json(data: Any) -> None:
    """`data` as indented JSON on stdout."""
    write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")


def write(text: str) -> None:
    """`text` as it is, on stdout."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)


def settle() -> None:
    """Bring out what is still buffered; a reader that went away is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            discard(stream)


def discard(stream: Any) -> None:
    """From now on, what is written to `stream` goes nowhere."""
    with suppress(UnsupportedOperation, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
