"""What docs/snowflake.md says to do with a drive table in Snowflake, done word for word (N-11)."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from service.app import account_of
from state.registry import backend
from tests.cli.shell import Answer, process
from tests.deploy.operator import SQL, renamed
from tests.deploy.test_grants import Granted, wanted  # noqa: F401 a fixture
from tests.lifecycle.snowflake_world import snowflake_defaults
from tests.lifecycle.world import merged
from tests.snowflake.cli import snow_sql

PAGE = SQL.parents[1] / "docs" / "snowflake.md"
TOOLS = ("snow-cli", "python3", "export", "openssl", "snow connection")
"""Commands of the page that install or connect something."""


def commands() -> Iterator[str]:
    """The commands of the page's set-up, one by one, but for those of `TOOLS`."""
    setup = PAGE.read_text().partition("## Set it up")[2].partition("\n## ")[0]
    for line in re.findall(r"(?m)^ {7}(?=\w)(.*)$", setup):
        for command in line.split(" && "):
            if re.match(r"(snow|sluiceway) ", command) and not command.startswith(TOOLS):
                yield command


@dataclass
class Operator:
    """Two people: one with `snow` who may do everything, and the workers' user with `sluiceway`."""

    granted: Granted

    def does(self, command: str) -> None:
        words, _, file = command.partition(" > ")
        tool, *rest = shlex.split(words)
        if tool == "snow":
            self.asks_snowflake(*rest)
            return
        answer = self.sluiceway(*rest)
        assert answer.code == 0, (command, answer.out, answer.err)
        if file:
            names = self.granted.names if file == "grants.sql" else {}
            (self.granted.folder / file).write_text(renamed(answer.out, names))

    def sluiceway(self, *words: str) -> Answer:
        settings = self.granted.world.settings
        config = self.granted.folder / "sluiceway.yaml"
        config.write_text(yaml.safe_dump(merged(snowflake_defaults(self.granted.world), settings)))
        return process(*words, folder=self.granted.folder)

    def asks_snowflake(self, *words: str) -> None:
        assert words[:2] == ("sql", "-f")
        place = self.granted.drive
        there = {"database": place.database, "schema": place.schema} if "--schema" in words else {}
        done = snow_sql(place.connection, self.granted.folder, self.granted.folder / words[2], **there)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def bare(snowflake_server, tmp_path) -> Granted:
    """Two databases with nothing in them."""
    return Granted(snowflake_server.place(), snowflake_server.place(), tmp_path)


def test_the_page_leads_from_nothing_to_a_loaded_window_n11(bare):
    done = list(commands())
    assert done[-3:] == ["sluiceway drive init", "sluiceway doctor", "sluiceway run"]
    assert len(done) == 7
    for command in done:
        Operator(bare).does(command)
    loaded = bare.world.query(f"SELECT COUNT(*) FROM {bare.load.database}.S.EVENTS")
    assert loaded == [(100,)]


async def test_a_role_that_may_only_work_changes_nothing_by_init_and_upgrade(wanted):  # noqa: F811
    await wanted.give()
    async with account_of(wanted.config) as account:
        kept = backend(wanted.config.drive_table, account)
        drive = await kept.open()
        await drive.aclose()
        before = len(wanted.drive.statements())
        assert [await kept.init(), await kept.upgrade()] == [drive.id, drive.id]
    sent = [one["text"].split()[0] for one in wanted.drive.statements()[before:]]
    assert not {"CREATE", "MERGE", "UPDATE", "INSERT"} & set(sent)


async def test_a_role_that_may_not_make_it_is_told_what_somebody_else_runs(wanted):  # noqa: F811
    await wanted.give()
    async with wanted.drive.connect() as admin:
        await wanted.drive.rows(admin, f"DROP TABLE {wanted.drive.database}.S.SLUICEWAY_DRIVE")
    answer = await asyncio.to_thread(Operator(wanted).sluiceway, "drive", "init")
    assert answer.code == 2
    assert "sluiceway drive sql drive_table" in answer.said
    assert f'GRANT CREATE TABLE, CREATE VIEW ON SCHEMA "{wanted.drive.database}"."S"' in answer.said
