"""A canary behind every secret of a `sluiceway serve`, given to servers that repeat it, is said nowhere (X-9).

Searched are the log in both forms, every answer of `/v1`, of the status page and of the probes, the text of
notifications, and every file that is left: drive table, target, stage, spool.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from service.cli.reference_api import openapi
from service.daemon.settings import DaemonSettings
from service.reference import settings
from service.settings import PipelineConfig
from state.settings import Secret
from state.sqlite import SqliteDrive
from tests.integration.notify_receivers import nobody_listens
from tests.lifecycle.daemon_scale import scraped
from tests.lifecycle.daemons import Serving, all_closed, until
from tests.lifecycle.tattlers import Heard, mail_tattler, web_tattler
from tests.lifecycle.world import World, defaults, events, merged
from tests.servers.mariadb import free_port

USER, PASSPHRASE = "reader", "canary-passphrase-e07a"
NOTIFICATIONS = "pipeline_metadata.notifications"
INLINE = "canary-written-into-the-file-93d1"

CARELESS = """
from state.settings import Secret

def run(config, record):
    told = config["pipeline_metadata"]["notifications"]["smtp"]["password"]
    raise ValueError("cannot log in with " + Secret(**told).read())
"""


def canaries(web: int) -> dict[str, str]:
    """Each setting that is a secret, and what it is here."""
    hooks = {"slack_webhook": "slack", "webhook.url": "hook"}
    plain = (
        *(f"{NOTIFICATIONS}.{name}" for name in ("webhook.headers", "webhook.signing_key", "smtp.password")),
        *(f"source_system.auth.{name}" for name in ("api_key", "password", "bearer")),
        *(f"phases.stage_cleaning.archive_access.{name}" for name in ("access_key", "secret_key")),
        "source_system.password",
        "drive_table.password",
        *(f"snowflake_connection.{name}" for name in ("programmatic_access_token", "oauth_token", "password")),
        "admin.read_tokens",
        "admin.operate_tokens",
    )
    return {
        **{
            f"{NOTIFICATIONS}.{name}": f"http://127.0.0.1:{web}/{at}/canary-{at}-7e5b"
            for name, at in hooks.items()
        },
        **{name: f"canary-{number}-{name.rpartition('.')[2]}-7f3a" for number, name in enumerate(plain)},
        "snowflake_connection.private_key": private_key(),
        "snowflake_connection.private_key_passphrase": PASSPHRASE,
    }


def private_key() -> str:
    pair = rsa.generate_private_key(65537, 2048)
    locked = BestAvailableEncryption(PASSPHRASE.encode())
    return pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked).decode()


def spellings(secret: str) -> Iterator[str]:
    """How a secret may look: as it is, in part, in a URL, in base64, alone and with the user before it."""
    if secret.startswith("-----"):
        yield from secret.splitlines()[1:-1]
        return
    yield secret.rpartition("/")[2]
    yield quote(secret, safe="")
    for pair in (secret, f"{USER}:{secret}", f"\0{USER}\0{secret}"):
        yield base64.b64encode(pair.encode()).decode().rstrip("=")


class Place:
    """One process with its pipelines, each of which meets a server of its own kind that lets nobody in."""

    def __init__(self, root: Path, web: int, mail: int) -> None:
        self.root, self.web, self.mail = root, web, mail
        self.secrets = canaries(web)
        self.variables = {f"CANARY_{n}": value for n, value in enumerate(self.secrets.values())}
        self.health, self.admin = free_port(), free_port()
        root.mkdir()
        (root / "user").mkdir()
        (root / "user" / "careless.py").write_text(CARELESS)
        asyncio.run(SqliteDrive.init(root / "drive.sqlite"))
        self.serving = Serving(
            root / "daemon",
            [self.config(name, own) for name, own in self.pipelines().items()],
            health={"host": "127.0.0.1", "port": self.health},
            admin={
                "port": self.admin,
                "read_tokens": [self.of("admin.read_tokens")],
                "operate_tokens": [self.of("admin.operate_tokens")],
            },
        )
        inline = {"source_system": {"type": "elasticsearch", "auth": {"user": USER, "password": INLINE}}}
        (root / "daemon" / "configs" / "inline.json").write_text(json.dumps(inline))

    def of(self, setting: str) -> dict[str, str]:
        """A reference to the canary of a setting."""
        return {"env": f"CANARY_{list(self.secrets).index(setting)}"}

    def group(self, path: str, *names: str) -> dict[str, Any]:
        return {name: self.of(f"{path}.{name}") for name in names}

    def pipelines(self) -> dict[str, dict[str, Any]]:
        search = {
            "type": "elasticsearch",
            "endpoint": f"http://127.0.0.1:{self.web}",
            "index": "i",
            "cursor": "at",
        }
        auth = "source_system.auth"
        password = {"user": USER, **self.group(auth, "password")}
        return {
            "api": {"source_system": search | {"auth": self.group(auth, "api_key")}},
            "basic": {"source_system": search | {"auth": password}},
            "bearer": {"source_system": search | {"auth": self.group(auth, "bearer")}},
            "key": self.snowflake("private_key", "private_key_passphrase"),
            "pat": self.snowflake("programmatic_access_token"),
            "oauth": self.snowflake("oauth_token"),
            "login": self.snowflake("password"),
            "mysql": {"drive_table": self.mysql("drive_table")},
            "rows": {"source_system": self.mysql("source_system") | {"table": "t", "cursor": "at"}},
            "archived": {"phases": {"stage_cleaning": self.archive()}},
            "careless": {"phases": {"pre_validation": {"function": "careless:run"}}},
        }

    def snowflake(self, *credential: str) -> dict[str, Any]:
        connection = {
            **{"account": "test", "user": USER, "role": "R", "warehouse": "W", "protocol": "http"},
            **{"host": "127.0.0.1", "port": self.web, "allow_password": "password" in credential},
            **self.group("snowflake_connection", *credential),
        }
        target = {"type": "snowflake", "table": "D.S.EVENTS", "mode": "merge", "key": ["id"], "version": "version"}
        return {
            "snowflake_connection": connection,
            "target_system": target,
            "stage_system": {"stage": "D.S.STAGE"},
        }

    def mysql(self, group: str) -> dict[str, Any]:
        place = {"type": "mysql", "host": "127.0.0.1", "port": nobody_listens(), "tls": False, "database": "d"}
        return {**place, "user": USER, **self.group(group, "password")}

    def archive(self) -> dict[str, Any]:
        access = "phases.stage_cleaning.archive_access"
        keys = self.group(access, "access_key", "secret_key")
        place = {"region": "r", "endpoint": f"http://127.0.0.1:{self.web}"}
        return {"archive": "s3://bucket/kept", "archive_access": place | keys}

    def notifications(self) -> dict[str, Any]:
        hook = f"{NOTIFICATIONS}.webhook"
        signed = self.group(hook, "url", "signing_key") | {"headers": {"X-Key": self.of(f"{hook}.headers")}}
        smtp = {"host": "127.0.0.1", "port": self.mail, "tls": "none", "user": USER, "sender": "a@example.com"}
        return {
            **self.group(NOTIFICATIONS, "slack_webhook"),
            "webhook": signed,
            "email": ["b@example.com"],
            "smtp": smtp | self.group(f"{NOTIFICATIONS}.smtp", "password"),
            "gather_seconds": 0,
        }

    def config(self, name: str, own: dict[str, Any]) -> dict[str, Any]:
        World(self.root / name, {}).write("rows", events(10))
        drive = {"type": "sqlite", "path": str(self.root / "drive.sqlite")}
        common = {"drive_table": drive, "limits": {"tries_per_phase": 1}, "windows": {"freshness_seconds": 60}}
        made = merged(defaults(self.root / name), common)
        made["pipeline_metadata"] = {"pipeline_name": name, "notifications": self.notifications()}
        for group, values in own.items():
            other = group == "stage_system" or "type" in values
            made[group] = values if other else merged(made.get(group, {}), values)
        return made

    def is_through(self) -> bool:
        """Whether each pipeline has met its server, and everybody was told of it."""
        try:
            found = scraped(self.health)
        except OSError:  # it does not listen yet
            return False
        lost = {one.labels["pipeline"] for one in found if is_of(one, "looks_total", result="failed")}
        waits = {one.labels["pipeline"] for one in found if is_of(one, "windows_total", result="quarantined")}
        left = {one.labels["pipeline"] for one in found if is_of(one, "cleanings_failed_total")}
        told = {one.labels["channel"] for one in found if is_of(one, "notifications_total", result="failed")}
        all_told = told == {"slack", "webhook", "email"}
        return lost == LOST and waits == {"careless"} and left == {"archived"} and all_told

    def answers(self) -> Iterator[tuple[str, str]]:
        """What every address says to every method, to whoever has a token, a wrong one or none."""
        for path in ("/metrics", "/healthz", "/readyz", "/nothing"):
            yield path, asked(self.health, "GET", path, "")
        operate, read = (self.secrets[f"admin.{role}_tokens"] for role in ("operate", "read"))
        for method, path, name in self.addresses():
            for token in (operate, read, "") if name in ("", "careless") else (operate,):
                for body in (None, b"{", json.dumps(SPAN).encode()) if method == "POST" else (None,):
                    yield path, asked(self.admin, method, path, token, body)
        yield "/", asked(self.admin, "GET", "/", operate + "x")

    def addresses(self) -> Iterator[tuple[str, str, str]]:
        """Of the page and of `/v1`, with the pipeline that each is about; what changes something comes last."""
        known = [(method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods]
        pages = ["/", "/pipelines/{pipeline}", "/pipelines/{pipeline}/runs/{run}", "/v1/openapi.json"]
        looks = [("GET", page) for page in pages] + [one for one in known if one[0] == "GET"]
        for method, path in looks + [one for one in known if one[0] != "GET"]:
            names = self.pipelines() if method == "GET" else ("careless",)
            for name in names if "{pipeline}" in path else ("",):
                yield method, path.format(pipeline=name, run=f"{name}_20251115_00h_run1", key="k"), name

    def files(self) -> Iterator[tuple[str, str]]:
        """Every file that is left, but for the one that has a secret written into it."""
        for file in self.root.rglob("*"):
            if file.is_file() and file.name != "inline.json":
                yield str(file), file.read_bytes().decode(errors="replace")


LOST = {"api", "basic", "bearer", "key", "pat", "oauth", "login", "mysql", "rows"}
"""Pipelines whose looks fail; of the two others one cannot archive, and one has a careless function."""
SPAN = {"from": "2025-11-15T00:00:00Z", "to": "2025-11-15T01:00:00Z"}


def is_of(sample: Any, name: str, **labels: str) -> bool:
    return sample.name == f"sluiceway_{name}" and sample.value > 0 and labels.items() <= sample.labels.items()


def asked(port: int, method: str, path: str, token: str, body: bytes | None = None) -> str:
    """Head and body of the answer, whatever it is."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return f"{answer.status} {answer.headers}{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.headers}{error.read().decode()}"


SENT_IN_SECRET = (
    *(f"snowflake_connection.{name}" for name in ("private_key", "private_key_passphrase")),
    *(f"{NOTIFICATIONS}.webhook.signing_key", "phases.stage_cleaning.archive_access.secret_key"),
    *("source_system.password", "drive_table.password", "admin.read_tokens", "admin.operate_tokens"),
)
"""Settings that no server is given as they are: keys that sign, and tokens that others bring."""


def test_every_secret_of_the_settings_has_a_canary():
    every = [one for group in (PipelineConfig, DaemonSettings) for one in settings(group)]
    assert {one.path for one in every if Secret.__name__ in str(one.field.annotation)} == set(canaries(0))


@dataclass
class Found:
    """What came of one process: all that it said, by where that was found, and what servers heard of it."""

    place: Place
    said: Mapping[str, str]
    web: Heard
    mail: Heard


def processes(root: Path) -> list[Found]:
    """Two side by side, one for each form of the log."""
    with ExitStack() as stack:
        begun = []
        for form in ("json", "text"):
            web, heard = stack.enter_context(web_tattler())
            mail, posted = stack.enter_context(mail_tattler())
            place = Place(root / form, web, mail)
            place.serving.form = form
            stack.enter_context(all_closed(place.serving))
            place.serving.start(place.root / "user", **place.variables)
            begun.append((place, heard, posted))
        return [Found(place, everything(place), heard, posted) for place, heard, posted in begun]


def everything(place: Place) -> Mapping[str, str]:
    until(place.is_through, "every pipeline at its server", every=0.3)
    answers = place.answers() if place.serving.form == "json" else ()  # the other has the same
    found = {f"{number} {path}": text for number, (path, text) in enumerate(answers)}
    place.serving.send(signal.SIGTERM)
    assert place.serving.ended() == 0
    return found | dict(place.files())


def telling(secret: str, said: Mapping[str, str]) -> list[str]:
    return [where for where, text in said.items() if any(one in text for one in spellings(secret))]


def require_nothing_is_said(found: Found) -> None:
    """In any output, and in the text of any notification."""
    posted = [(path.split("/")[1], body) for path, body in found.web.posted]
    told = {f"{number} {at}": body for number, (at, body) in enumerate(posted) if at in ("slack", "hook")}
    for at in ("slack", "hook"):
        assert any("cannot log in with ***" in body for name, body in told.items() if name.endswith(at))
    for setting, secret in {**found.place.secrets, "inline": INLINE}.items():
        assert telling(secret, {**found.said, **told}) == [], setting
    assert not [where for where, text in found.said.items() if "eyJ" in text]  # tokens that keys signed


def require_all_was_repeated(found: Found) -> None:
    """Every server was given its canary, and so could have been told of."""
    heard = {"web": found.web.text, "mail": found.mail.text}
    for setting, secret in found.place.secrets.items():
        assert bool(telling(secret, heard)) is (setting not in SENT_IN_SECRET), setting
    assert "eyJ" in found.web.text
    log = (found.place.root / "daemon" / "log").read_text()
    assert log.count("***") > 5
    assert log.startswith("{") is (found.place.serving.form == "json")


def test_no_secret_is_in_any_output_file_or_notification_of_a_daemon_x9(tmp_path: Path):
    for found in processes(tmp_path):
        require_all_was_repeated(found)
        require_nothing_is_said(found)
