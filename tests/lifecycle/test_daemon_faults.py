"""Real `sluiceway serve` processes that are killed, hurried, or kept by a hanging function (K-2; cases 51, 53)."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from state.model import RunStatus
from state.sqlite import SqliteDrive
from tests.lifecycle.daemons import Serving, all_closed, until
from tests.lifecycle.world import START, World, events, merged

MINUTES = timedelta(minutes=1)
CANARY = "c4nary-in-a-secret"

HANGS = """
import threading, pathlib

def run(config, record):
    pathlib.Path("hangs").touch()
    threading.Event().wait()
"""


def minutes(root: Path, name: str, count: int, **settings) -> World:
    """A pipeline of `count` windows of one minute, six rows each."""
    windows = {"width": "1m", "end": (START + count * MINUTES).isoformat(), "max_open": 2}
    own = {
        "pipeline_metadata": {"pipeline_name": name},
        "windows": windows,
        "limits": {"lease_seconds": 2.0, "catch_up_windows": 5},
    }
    made = World(root / name, merged(own, settings))
    made.write("rows", events(6 * count, every=MINUTES / 6))
    asyncio.run(SqliteDrive.init(made.root / "drive.sqlite"))
    return made


def config(world: World) -> dict:
    return world.config.model_dump(mode="json", exclude_unset=True)


def require_whole(world: World, count: int) -> None:
    """Every row of the source, one run and one receipt for each window."""
    wanted = [tuple(row.values()) for row in events(6 * count, every=MINUTES / 6).to_pylist()]
    assert world.query('SELECT id, "at", version, value FROM events ORDER BY id') == wanted
    runs = world.runs()
    assert {run.status for run in runs} == {RunStatus.COMPLETED}
    assert len(runs) == len({run.window for run in runs}) == count
    assert sorted(world.receipts()) == sorted(run.name for run in runs)


def test_a_daemon_that_is_killed_under_load_again_and_again_loads_every_window_once(tmp_path):
    """SIGKILL, and started again each time; by content."""
    worlds = [minutes(tmp_path, name, 12) for name in ("one", "two")]
    serving = Serving(tmp_path / "daemon", list(map(config, worlds)), max_runs=3)
    with all_closed(serving):
        for enough in (3, 8):
            serving.start()
            until(lambda enough=enough: len(serving.told("run_finished")) >= enough and serving.holds(), "load")
            serving.send(signal.SIGKILL)
            assert serving.ended() == -signal.SIGKILL
        serving.start()
        until(lambda: len({line["run"] for line in serving.told("run_finished")}) >= 24, "all windows")
        serving.send(signal.SIGTERM)
        assert serving.ended() == 0
        assert serving.told()[-1]["event"] == "daemon_stopped"
    for world in worlds:
        require_whole(world, 12)


@pytest.mark.parametrize(("signals", "code", "drain_seconds"), [(2, 143, 60.0), (1, 0, 1.0)])
def test_a_function_that_hangs_keeps_no_process_after_a_second_signal_or_the_drain_budget(
    tmp_path, signals, code, drain_seconds
):
    """K-2: the other runs are let go, and the one that hangs is taken up when its lease is over."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "hangs_for_ever.py").write_text(HANGS)
    hanging = minutes(tmp_path, "hanging", 1, phases={"audit": {"function": "hangs_for_ever:run"}})
    serving = Serving(tmp_path / "daemon", [config(hanging)], drain_seconds=drain_seconds)
    with all_closed(serving):
        serving.start(tmp_path / "user")
        until((tmp_path / "daemon" / "hangs").exists, "the function")
        serving.send(signal.SIGTERM)
        until(lambda: serving.told("drain_began"), "the drain")
        if signals == 2:
            serving.send(signal.SIGTERM)
        assert serving.ended(60) == code
    [run] = hanging.runs()
    assert run.status is RunStatus.RUNNING
    again = Serving(tmp_path / "again", [merged(config(hanging), {"phases": {"audit": {"function": None}}})])
    with all_closed(again):
        again.start()
        until(lambda: again.told("run_finished"), "the take-over")
        again.send(signal.SIGTERM)
        assert again.ended() == 0
    require_whole(hanging, 1)


def test_a_second_signal_ends_with_143_and_what_was_under_way_is_released(tmp_path):
    world = minutes(tmp_path, "one", 30)
    serving = Serving(tmp_path / "daemon", [config(world)])
    with all_closed(serving):
        serving.start()
        until(serving.is_busy, "load")
        serving.send(signal.SIGTERM)
        serving.send(signal.SIGTERM)
        assert serving.ended() in (0, 143)  # 0 if all were at their checkpoints before the second came
    assert RunStatus.RUNNING not in {run.status for run in world.runs()}


def test_one_poison_window_is_quarantined_after_its_attempts_and_hinders_nobody(tmp_path):
    """Case 53: `attempts_per_error_class` attempts, then an operator; other windows and pipelines go on."""
    limits = {"attempts_per_error_class": 3, "retry_base_seconds": 0.01, "tries_per_phase": 1}
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "poisoned.py").write_text(
        "from state.errors import TransientError\n"
        "def run(config, record):\n"
        "    if record['query_window_start_timestamp'].minute == 1:\n"
        "        raise TransientError('poison', code='poison')\n"
        "    return {}\n"
    )
    bad = minutes(tmp_path, "bad", 3, limits=limits, phases={"pre_validation": {"function": "poisoned:run"}})
    ordered = minutes(
        tmp_path,
        "ordered",
        3,
        limits=limits,
        windows={"ordered": True},
        phases={"pre_validation": {"function": "poisoned:run"}},
    )
    good = minutes(tmp_path, "good", 3)
    serving = Serving(tmp_path / "daemon", list(map(config, (bad, ordered, good))))

    def over() -> bool:
        quarantined = [line for line in serving.told("run_failed") if line["quarantined"]]
        return len(quarantined) >= 2 and len(serving.told("run_finished")) >= 6

    with all_closed(serving):
        serving.start(tmp_path / "user")
        until(over, "two quarantines and what is not behind them")
        serving.send(signal.SIGTERM)
        assert serving.ended() == 0
    require_whole(good, 3)
    for world, behind in ((bad, RunStatus.COMPLETED), (ordered, RunStatus.PENDING)):
        first, poison, last = sorted(world.runs(), key=lambda run: run.window)
        assert (first.status, last.status) == (RunStatus.COMPLETED, behind)
        assert poison.quarantined_at is not None
        assert (poison.attempts, poison.strikes) == (3, 3)


def test_secrets_of_configurations_appear_in_no_output(tmp_path):
    """Case 51: a canary in every secret and in a path that cannot be used; nothing of it is said."""
    world = minutes(tmp_path, "one", 1)
    data = merged(
        config(world),
        {
            "pipeline_metadata": {"pipeline_name": "bad"},
            "source_system": {"type": "elasticsearch", "endpoint": f"http://u:{CANARY}@127.0.0.1:9"},
        },
    )
    serving = Serving(tmp_path / "daemon", [config(world)])
    (tmp_path / "daemon" / "configs" / "bad.json").write_text(json.dumps(data))
    with all_closed(serving):
        serving.start()
        until(lambda: serving.told("run_finished") and serving.told("config_refused"), "both were met")
        serving.send(signal.SIGTERM)
        assert serving.ended() == 0
    assert CANARY not in (tmp_path / "daemon" / "log").read_text()
