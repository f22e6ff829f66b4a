"""The examples of docs/admin-api.md, done in their order against a running daemon."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path

from service.admin.v1 import MOST_WINDOWS, SHOWN_WINDOWS
from service.cli.reference_api import openapi
from tests.integration.test_admin_api import OPERATE, api
from tests.lifecycle.test_daemon import enrol, world

PAGE = (Path(__file__).parents[2] / "docs" / "admin-api.md").read_text()


def examples(page: str) -> list[tuple[str, object]]:
    """Commands, with what they answer."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for one in block.split("$ ")[1:]:
            command, _, answer = one.partition("\n")
            found.append((command, json.loads(answer)))
    return found


async def curl(session, base: str, command: str) -> object:
    """What the command would print."""
    words = shlex.split(command.replace("$TOKEN", OPERATE).replace("http://127.0.0.1:8081", base))
    assert words.pop(0) == "curl"
    method, body, headers, url = "", None, {}, ""
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-d":
                body = words.pop(0)
            case "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case word:
                assert not url, word
                url = word
    async with session.request(method or ("POST" if body else "GET"), url, data=body, headers=headers) as answer:
        return await answer.json(content_type=None)


def holds(found: object, said: object) -> bool:
    """Whether what is said is so; keys may be left out, and the rest of a list of acts."""
    if isinstance(said, dict):
        return isinstance(found, dict) and all(k in found and holds(found[k], v) for k, v in said.items())
    if isinstance(said, list):
        return isinstance(found, list) and len(found) >= len(said) and all(map(holds, found, said))
    return found == said


def test_the_page_answers_as_it_says(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))
    said = examples(PAGE)
    assert len(said) > 15

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            for command, answer in said:
                found = await curl(ask._session, ask._base, command)
                assert holds(found, answer), (command, found)

    asyncio.run(go())


def test_the_page_has_an_example_of_every_operation_and_the_limits_as_they_are():
    commands = [command for command, _ in examples(PAGE)]
    for path, methods in openapi()["paths"].items():
        pattern = re.compile(r"8081" + re.sub(r"{\w+}", "[^/? ]+", path) + r'(\?[^"]*)?"?$')
        for method in methods:
            fits = [c for c in commands if pattern.search(c)]
            posts = [c for c in fits if "-X POST" in c or "-d" in c]
            deletes = [c for c in fits if "-X DELETE" in c]
            assert {"post": posts, "delete": deletes, "get": [c for c in fits if c not in posts + deletes]}[method]
    assert f"{MOST_WINDOWS:,} windows at most" in PAGE
    assert f"the last {SHOWN_WINDOWS:,}" in PAGE
