"""Schemathesis and openapi-spec-validator: an HTTP interface tested by its own OpenAPI document.

In an environment of their own: Schemathesis is a plugin of pytest too, and would load into every test of ours.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.servers.environments import Environment

FUZZER = Environment("fuzzer", ("schemathesis==4.32.5", "openapi-spec-validator==0.9.0"))

VALID = "import json, sys, openapi_spec_validator as v; v.OpenAPIV31SpecValidator(json.load(sys.stdin)).validate()"


async def invalid(document: object) -> str:
    """What is wrong with an OpenAPI 3.1 document; empty if nothing is."""
    _, told = await _ran([str(FUZZER.python()), "-c", VALID], Path(), json.dumps(document).encode())
    return told


async def fuzzed(url: str, token: str, folder: Path, settings: str, *options: str) -> tuple[int, str]:
    """`st run` on the document at `url`: exit code and report. `settings`: the text of schemathesis.toml."""
    (folder / "schemathesis.toml").write_text(settings)
    st = [str(FUZZER.python()), "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", url]
    return await _ran([*st, "-H", f"Authorization: Bearer {token}", *options], folder, b"")


async def _ran(command: list[str], folder: Path, given: bytes) -> tuple[int, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        told, _ = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, told.decode()
