"""A secret reaches no output, no file, no drive table, no error: not even when the server repeats it (X-9)."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from service.config import load_config
from state.settings import Secret
from tests.cli.shell import Answer, process, sluiceway

CANARY = "canary-9b1c77"
COMMANDS = (
    "validate pipeline.yaml",
    "validate pipeline.yaml --json",
    "drive init",
    "doctor",
    "doctor --json",
    "plan",
    "run --json",
    "windows",
    "backfill --from 2025-11-15T00:00Z --to 2025-11-15T01:00Z",
    "test-phase pipeline.yaml audit",
)


@pytest.fixture
def tattler() -> Iterator[tuple[str, list[str]]]:
    """A server that refuses everybody and repeats the credentials it was given; its URL and what it heard."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            given = self.headers.get("Authorization", "")
            heard.append(given)
            body = (
                f'{{"error": {{"type": "security_exception", "reason": "not {given}"}}, "status": 401}}'.encode()
            )
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    thread.join()
    server.server_close()


AUTHS = {
    "api key by variable": {"api_key": {"env": "OWN_SECRET"}},
    "api key by file": {"api_key": {"file": "secret.txt"}},
    "password": {"user": "reader", "password": {"env": "OWN_SECRET"}},
    "bearer": {"bearer": {"env": "OWN_SECRET"}},
}


def configured(folder: Path, endpoint: str, auth: dict) -> None:
    (folder / "secret.txt").write_text(CANARY + "\n")
    config = {
        "config_version": 1,
        "pipeline_metadata": {
            "pipeline_name": "orders",
            "notifications": {"slack_webhook": {"env": "OWN_SECRET"}},
        },
        "windows": {"start": "2025-11-15T00:00:00Z", "end": "2025-11-15T02:00:00Z"},
        "source_system": {
            "type": "elasticsearch",
            "endpoint": endpoint,
            "index": "o",
            "cursor": "at",
            "auth": auth,
        },
        "stage_system": {"directory": "stage"},
        "target_system": {"type": "duckdb", "database": "w.duckdb", "table": "orders", "key": ["_id"]},
        "limits": {"try_base_seconds": 0.001, "try_cap_seconds": 0.001},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(config))


def encoded(text: str) -> list[str]:
    """The secret as it may look elsewhere."""
    pair = base64.b64encode(f"reader:{text}".encode()).decode()
    return [text, base64.b64encode(text.encode()).decode(), pair]


def telling(answer: Answer) -> list[str]:
    return [form for form in encoded(CANARY) if form in answer.out + answer.err]


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    """The working directory of this process, with the secret in its environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("OWN_SECRET", CANARY)
    monkeypatch.setenv("SLUICEWAY_CONFIG", "pipeline.yaml")
    return tmp_path


def files_that_tell(folder: Path) -> list[Path]:
    (folder / "secret.txt").unlink()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(form.encode() in path.read_bytes() for form in encoded(CANARY))]


@pytest.mark.parametrize("auth", AUTHS.values(), ids=AUTHS)
def test_a_secret_is_in_no_output_and_no_file(here: Path, tattler, auth):
    endpoint, heard = tattler
    configured(here, endpoint, auth)
    for command in COMMANDS:
        answer = sluiceway(*command.split())
        assert telling(answer) == [], command
        assert "a defect of Sluiceway" not in answer.said, answer.said
    assert any(form in given for given in heard for form in encoded(CANARY)), "the server was never asked"
    assert files_that_tell(here) == []


def test_tracebacks_and_logs_of_debug_do_not_tell_it_either(here: Path, tattler):
    endpoint, heard = tattler
    configured(here, endpoint, AUTHS["password"])
    sluiceway("drive", "init")
    answer = process("run", "--debug", folder=here)
    assert "Traceback" in answer.err
    assert telling(answer) == []
    assert heard
    assert files_that_tell(here) == []


def test_what_somebody_put_into_an_error_is_told_without_the_secret(here: Path, monkeypatch):
    def careless(*_args):
        raise ValueError(f"cannot log in with {Secret(env='OWN_SECRET').read()}")

    monkeypatch.setattr("service.cli.operate.one_pipeline", careless)
    for more in ([], ["--debug"], ["--json"]):
        answer = sluiceway("run", *more)
        assert "cannot log in with ***" in answer.out + answer.err
        assert telling(answer) == []


def test_a_function_is_given_references_and_never_the_secret(here: Path):
    configured(here, "http://127.0.0.1:9", AUTHS["password"])
    given = load_config(here / "pipeline.yaml").as_dict()
    assert given["source_system"]["auth"]["password"] == {"env": "OWN_SECRET"}
    assert CANARY not in str(given)


def test_a_secret_that_is_not_there_is_named_by_its_place(here: Path):
    configured(here, "http://127.0.0.1:9", {"api_key": {"env": "NOT_SET_ANYWHERE"}})
    answer = sluiceway("doctor")
    assert "environment variable NOT_SET_ANYWHERE is empty or not set" in answer.said


ASKED = {
    "password in the url": (f"reader:{CANARY}@", ""),
    "password in the environment": ("reader@", "SLUICEWAY_SOURCE_PASSWORD"),
    "api key": ("", "SLUICEWAY_SOURCE_API_KEY"),
}
"""What stands before the host in a URL, and the variable that holds the secret."""


@pytest.mark.parametrize(("user", "variable"), ASKED.values(), ids=ASKED)
def test_the_secret_of_a_source_that_is_asked_for_proposals_is_told_to_nobody_but_it(
    here: Path, tattler, monkeypatch, user, variable
):
    endpoint, heard = tattler
    (here / "secret.txt").write_text("none is here")
    if variable:
        monkeypatch.setenv(variable, CANARY)
    for more in ([], ["--debug"]):
        answer = process("init", "--from", endpoint.replace("http://", f"http://{user}"), *more, folder=here)
        assert answer.code == 2
        assert telling(answer) == []
        assert ("shell's history" in answer.said) is not bool(variable)
    assert any(form in given for given in heard for form in encoded(CANARY)), "the server was never asked"
    assert files_that_tell(here) == []
