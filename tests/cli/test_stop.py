"""Signals and pipes, in processes of their own: what is under way is kept, and no traceback is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from service import exit_codes
from state.model import RunStatus
from tests.cli.shell import ROOT, Pipeline, process

WAITS = """
import pathlib, time

def run(config, record):
    pathlib.Path("waiting").touch()
    while not pathlib.Path("go on").exists():
        time.sleep(0.01)
    return {"waited": True}
"""


def begun(pipeline: Pipeline, *words: object) -> subprocess.Popen:
    """A command in a process of its own, once it waits in its phase."""
    command = [sys.executable, "-m", "service", *map(str, words), "-c", str(pipeline.config)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        command, cwd=pipeline.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (pipeline.root / "waiting").exists():
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < deadline, "the phase was not reached"
        time.sleep(0.02)
    return started


@pytest.fixture
def waiting(ready: Pipeline) -> Pipeline:
    """Its audit waits until it may go on."""
    (ready.root / "own_waiting.py").write_text(WAITS)
    ready.save(phases={"audit": {"function": "own_waiting:run"}})
    return ready


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, exit_codes.STOPPED), (signal.SIGINT, exit_codes.INTERRUPTED)]
)
def test_a_signal_releases_the_run_with_its_progress_k2(waiting: Pipeline, number, code):
    started = begun(waiting, "run")
    started.send_signal(number)
    time.sleep(0.2)
    (waiting.root / "go on").touch()  # a thread cannot be cancelled: the function returns, then the process ends
    out, err = started.communicate(timeout=60)
    assert started.returncode == code
    assert "stopped; its progress is kept" in err
    assert "Traceback" not in out + err
    [first, second] = waiting.world.runs()
    assert (first.status, first.owner) == (RunStatus.PENDING, "")
    assert first.receipt is not None
    assert second.status is RunStatus.PENDING
    answer = waiting.do("run", "--json")
    assert [(run["status"], run["attempts"]) for run in answer.json["runs"]] == [
        ("COMPLETED", 2),
        ("COMPLETED", 1),
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_process_that_hangs_and_its_run_is_taken_over_k2(waiting: Pipeline, number):
    started = begun(waiting, "run")
    too_long = threading.Timer(60, started.kill)
    too_long.start()
    started.send_signal(number)
    said = ""
    while "a second signal ends this process at once" not in said:
        line = started.stderr.readline()
        assert line, f"ended without a word of it: {said}"
        said += line
    [first, _] = waiting.world.runs()
    assert first.status is RunStatus.RUNNING
    started.send_signal(number)
    _, err = started.communicate()
    too_long.cancel()
    assert started.returncode == -number
    assert "Traceback" not in said + err
    (waiting.root / "go on").touch()
    answer = waiting.do("run", "--json")
    assert [(run["status"], run["attempts"]) for run in answer.json["runs"]] == [
        ("COMPLETED", 2),
        ("COMPLETED", 1),
    ]


def test_a_stopped_command_tells_a_script_so(waiting: Pipeline):
    started = begun(waiting, "run", "--json")
    started.terminate()
    time.sleep(0.2)
    (waiting.root / "go on").touch()
    out, _ = started.communicate(timeout=60)
    assert started.returncode == exit_codes.STOPPED
    assert '"kind": "stopped"' in out


def test_a_trial_that_is_stopped_leaves_nothing(waiting: Pipeline):
    before = {path.name for path in waiting.root.iterdir()}
    started = begun(waiting, "test-phase", waiting.config, "audit")
    started.terminate()
    time.sleep(0.2)
    (waiting.root / "go on").touch()
    started.communicate(timeout=60)
    assert started.returncode == exit_codes.STOPPED
    left = {path.name for path in waiting.root.iterdir()} - before
    assert left - {"__pycache__"} == {"waiting", "go on"}


@pytest.mark.parametrize("command", ["schema", "--help", "windows", "validate --json"])
def test_a_reader_that_goes_away_is_no_error(ready: Pipeline, command):
    """`| head -0`: the pipe is closed before anything is written."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "service", *command.split()],
        cwd=ready.root,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SLUICEWAY_CONFIG": str(ready.config)},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_work_goes_on_when_nobody_reads_its_progress(ready: Pipeline):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "service", "run", "-c", str(ready.config)],
        cwd=ready.root,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=write,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.returncode == exit_codes.OK
    assert [run.status for run in ready.world.runs()] == [RunStatus.COMPLETED] * 2


def test_heavy_libraries_are_not_loaded_for_help(tmp_path: Path):
    heavy = {"pyarrow", "duckdb", "elasticsearch", "aiohttp", "pydantic", "yaml"}
    code = (
        "import sys; from service.cli.main import command_line; command_line(['--help']);"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.strip() == "[]"


def test_the_version_and_the_help_are_at_hand(tmp_path: Path):
    assert process("--version", folder=tmp_path).out.startswith("sluiceway 0.")
    bare = process(folder=tmp_path)
    assert bare.code == 0
    assert "Usage: sluiceway" in bare.out
