"""A real pipeline (files into DuckDB) tells what needs somebody, and is not held up by receivers that are away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import yaml

from service.app import drive_of
from service.notify.courier import Courier, Pace, carrying
from service.notify.settings import Notifications
from service.retry import RetryPolicy
from state.drive import Event
from state.model import RunStatus
from state.sqlite import SqliteDrive
from tests.cli.shell import Answer, process
from tests.integration.notify_receivers import Hook, hook, nobody_listens, post
from tests.lifecycle.world import World, defaults, events, merged
from tests.unit.search_tls import CERTIFICATE

SECOND = "events_20251115_01h_run1"
REFUSING = """
from datetime import UTC, datetime
from pathlib import Path

def run(config, record):
    broken = Path(__file__).with_name("broken").exists()
    if broken and record["query_window_start_timestamp"].hour == 1:
        return {"error_message": "the second hour is not wanted"}
    return {"skip_dag_run": False}
"""
AWAY = {
    "refuses": lambda: gone(),  # noqa: PLW0108 it is defined below
    "hangs": lambda: hook(*["hang"] * 99),
    "500": lambda: hook(*[500] * 99),
    "429": lambda: hook(*[(429, {"Retry-After": "60"})] * 99),
    "closes": lambda: hook(*["close"] * 99),
    "cuts its answer": lambda: hook(*["cut"] * 99),
}
"""Receivers that are away, each in its way."""


@asynccontextmanager
async def gone():
    yield Hook(f"http://127.0.0.1:{nobody_listens()}/")


def world(folder: Path, told: dict, **settings: object) -> World:
    """Two windows of sixty rows; the second is refused by a function while the file `broken` is there."""
    folder.mkdir(exist_ok=True)
    module = f"own_{abs(hash(str(folder)))}"
    (folder / f"{module}.py").write_text(REFUSING)
    (folder / "broken").touch()
    made = World(
        folder,
        {
            "pipeline_metadata": {"pipeline_name": "events", "notifications": told},
            "phases": {"stale_pipeline_handling": {"function": f"{module}:run"}},
            **settings,
        },
    )
    made.write("day", events(120))
    return made


def command(made: World, *words: str, **environment: str) -> Answer:
    """A command in a process of its own."""
    config = made.root / "events.yaml"
    config.write_text(yaml.safe_dump(merged(defaults(made.root), made.settings)))
    return process(*words, "-c", config, folder=made.root, **environment)


async def commanded(made: World, *words: str, **environment: str) -> Answer:
    return await asyncio.to_thread(command, made, *words, **environment)


SLACK = {"slack_webhook": {"env": "HOOK"}}


async def test_a_command_tells_a_quarantine_with_the_words_of_show_and_later_its_end(tmp_path):
    made = world(tmp_path, SLACK)
    async with hook() as receiver:
        await SqliteDrive.init(made.root / "drive.sqlite")
        answer = await commanded(made, "run", HOOK=receiver.url)
        assert answer.code == 1, answer.said
        [told] = [json.loads(posted.body)["text"] for posted in receiver.got]
        shown = await commanded(made, "show", SECOND)
        assert told.startswith(f"events: {SECOND}: quarantined, an operator decides")
        for line in told.splitlines()[1:]:
            assert " ".join(line.split()) in shown.said
        assert f"sluiceway retry {SECOND} -c {tmp_path}/events.yaml" in told
        assert (await commanded(made, "run", HOOK=receiver.url)).code in (0, 1)
        assert len(receiver.got) == 1  # it is known, and was told
        (tmp_path / "broken").unlink()
        assert (await commanded(made, "retry", SECOND, HOOK=receiver.url)).code == 0
        ended = json.loads(receiver.got[-1].body)["text"]
    assert len(receiver.got) == 2
    assert ended.startswith(f"events: {SECOND}: recovered")
    assert "The rows are in the target, once" in ended


async def test_a_command_by_mail_and_webhook(tmp_path):
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    async with hook() as receiver, post("starttls") as server:
        smtp = {"host": "localhost", "port": server.port, "sender": "sluiceway@example.com", "ca_file": "ca.pem"}
        smtp |= {"user": "reporter", "password": {"env": "PASSWORD"}}
        told = {"email": ["a@example.com"], "smtp": smtp, "webhook": {"url": {"env": "HOOK"}}}
        made = world(tmp_path, told)
        await SqliteDrive.init(made.root / "drive.sqlite")
        answer = await commanded(made, "run", HOOK=receiver.url, PASSWORD="canary-5d20b7-password")
    [mail], [posted] = server.got, receiver.got
    assert json.loads(posted.body)["text"].splitlines() == mail.message.get_content().strip().splitlines()[2:]
    assert mail.encrypted
    assert "canary" not in answer.out + answer.err


async def test_a_command_whose_receiver_is_away_ends_as_ever_and_says_so(tmp_path):
    made = world(tmp_path, SLACK)
    async with hook(*[(429, {"Retry-After": "86400"})] * 9) as receiver:
        await SqliteDrive.init(made.root / "drive.sqlite")
        answer = await commanded(made, "run", HOOK=receiver.url)
    assert answer.code == 1
    assert "the Slack webhook answered 429" in answer.said
    assert "canary" not in answer.out + answer.err
    assert made.query("SELECT count(*) FROM events") == [(60,)]


async def test_a_command_with_nothing_to_tell_asks_no_receiver(tmp_path):
    made = world(tmp_path, SLACK)
    (tmp_path / "broken").unlink()
    async with hook() as receiver:
        await SqliteDrive.init(made.root / "drive.sqlite")
        assert (await commanded(made, "run", HOOK=receiver.url)).code == 0
    assert receiver.got == []


class Carried:
    """A world whose notifications go to one receiver, by Slack, webhook and mail at once."""

    def __init__(self, folder: Path, url: str, mail_port: int) -> None:
        (folder / "url").write_text(url)
        smtp = {"host": "localhost", "port": mail_port, "sender": "sluiceway@example.com", "tls": "none"}
        told = {
            "slack_webhook": {"file": str(folder / "url")},
            "webhook": {"url": {"file": str(folder / "url")}},
            "email": ["a@example.com"],
            "smtp": smtp,
            "on": ["failed", "quarantined", "recovered"],
            "gather_seconds": 0,
            "spacing_seconds": 0,
        }
        self.world = world(folder, told)
        self.notes: list[str] = []
        self.courier = Courier(
            lambda _pipeline: self.told,
            pace=Pace(seconds=30.0, retry=RetryPolicy(tries=5, base=0.01, cap=60.0)),
            note=self.notes.append,
        )

    @property
    def told(self) -> Notifications:
        return self.world.config.pipeline_metadata.notifications

    async def run(self) -> list[RunStatus]:
        """All that is due, told to the courier as it happens."""
        return [run.status for run in await self.world.run_due(emit=self.courier.hear)]

    async def runs(self) -> list[RunStatus]:
        async with drive_of(self.world.config) as drive:
            return [run.status for run in await drive.runs()]


@pytest.mark.parametrize("away", AWAY)
async def test_runs_go_on_while_every_receiver_is_away(tmp_path, monkeypatch, away):
    """The receivers are away until the runs have ended: had one waited, this would never end (item 7)."""
    monkeypatch.syspath_prepend(str(tmp_path))
    receiver: Callable[[], AbstractAsyncContextManager[Hook]] = AWAY[away]
    monkeypatch.syspath_prepend(str(tmp_path / "quiet"))
    quiet = world(tmp_path / "quiet", {})
    await quiet.run_due()
    async with receiver() as wrong:
        carried = Carried(tmp_path, wrong.url, nobody_listens())
        async with carrying(carried.courier, 0.0):
            assert sorted(await carried.run()) == sorted([RunStatus.COMPLETED, RunStatus.FAILED])
            (tmp_path / "broken").unlink()
            assert await carried.runs() == [RunStatus.COMPLETED, RunStatus.FAILED]
    assert carried.world.content_hash() == quiet.content_hash()
    courier = carried.courier
    accepted = 1 if away == "cuts its answer" else 0  # it said yes before
    assert courier.sent["slack"] <= accepted
    assert courier.sent["email"] == 0
    for channel in ("slack", "webhook", "email"):
        assert courier.sent[channel] + courier.failed[channel] + courier.dropped[channel] == 1


async def test_what_waited_for_a_receiver_that_comes_back_arrives_before_its_end(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    async with hook(500, 500, 500, 500) as receiver, post("none", login=False) as server:
        carried = Carried(tmp_path, receiver.url, server.port)
        async with carrying(carried.courier, 60.0):
            await carried.run()
            await server.came.wait()
            (tmp_path / "broken").unlink()
            async with drive_of(carried.world.config) as drive:
                [failed] = await drive.runs(statuses=(RunStatus.FAILED,))
                again = Event(await drive.now(), "me", "retry", "events", failed.name, {})
                await drive.reopen(failed.id, from_phase=None, run_floor=0, event=again)
            assert await carried.run() == [RunStatus.COMPLETED]
    posted = [json.loads(one.body) for one in receiver.got]
    kinds = [body["kind"] for body in posted if "kind" in body]
    assert kinds == sorted(kinds)  # quarantined, as often as it was refused, then recovered
    assert {"quarantined", "recovered"} == set(kinds)
    assert [mail.message["X-Sluiceway-Kind"] for mail in server.got] == ["quarantined", "recovered"]
    assert carried.courier.sent == {"slack": 2, "webhook": 2, "email": 2}
