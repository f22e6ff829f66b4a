"""Lines written by a thread: a reader who stands still holds up nobody, and is told what was lost."""

from __future__ import annotations

import io
import json
import threading

import pytest

from service.events import PipelineAdded
from service.log_stream import Background
from service.logs import in_background, lost


class Slow(io.StringIO):
    """Stands still at the first write until it is let go; `reached`: a write has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.go_on.wait(60)
        return super().write(text)


def test_everything_is_written_in_order_before_the_end():
    stream = io.StringIO()
    with in_background(stream, json=True) as lines:
        for number in range(500):
            lines.hear(PipelineAdded(f"p{number}"))
    told = [json.loads(line)["pipeline"] for line in stream.getvalue().splitlines()]
    assert told == [f"p{number}" for number in range(500)]


def test_a_reader_who_stands_still_holds_up_nobody_and_the_oldest_give_way():
    stream = Slow()
    queue = Background(stream, lambda count: f"{count} lost\n", most=3)
    queue.write("first\n")
    assert stream.reached.wait(60)
    for number in range(10):
        queue.write(f"{number}\n")  # returns, though nothing is read
    stream.go_on.set()
    assert queue.close(60)
    assert stream.getvalue().split("\n") == ["first", "7 lost", "7", "8", "9", ""]


def test_the_end_is_not_waited_for_without_end():
    stream = Slow()
    queue = Background(stream, str)
    queue.write("never read\n")
    assert stream.reached.wait(60)
    assert not queue.close(0.01)
    stream.go_on.set()
    assert queue.close(60)


def test_a_stream_that_breaks_ends_nothing():
    stream = io.StringIO()
    stream.close()
    queue = Background(stream, str)
    queue.write("nowhere")
    assert queue.close(60)


@pytest.mark.parametrize("as_json", [True, False])
def test_lost_lines_are_told_in_the_form_of_the_log(as_json):
    text = lost(7, json=as_json)
    assert text.endswith("\n")
    if as_json:
        told = json.loads(text)
        assert (told["event"], told["level"], told["lines"]) == ("lines_lost", "error", 7)
    else:
        assert "ERROR 7 lines were lost here" in text
