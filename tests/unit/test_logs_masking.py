"""No secret leaves by a log: those we were given are known by their value, all others by their form (X-9)."""

from __future__ import annotations

import base64
import io
import json
import logging
from importlib import import_module
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from service.events import (
    AdminActed,
    CleaningFailed,
    ConfigRefused,
    Event,
    LookFailed,
    PhaseRetried,
    RunFenced,
)
from service.logs import Lines, libraries, mask
from service.reference import settings
from state import masking
from state.errors import AuditMismatch, SluicewayError
from state.masking import MOST_KNOWN, remember
from state.settings import Group, Secret
from state.snowflake.session import Account
from state.snowflake.tag import Tag
from tests.snowflake.keys import key
from tests.unit.metric_script import P3, failed, failure, run
from tests.unit.snowflake_script import refused, serving
from tests.unit.snowflake_script import settings as connection

ROOT = Path(__file__).parents[2]
PACKAGES = ("service", "connectors", "loaders", "state")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """A memory of its own for each test."""
    monkeypatch.setattr(masking, "_known", type(masking._known)())
    monkeypatch.setattr(masking, "_sought", ())


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
PEM = key("1").private.strip()

SECRET = "s3cr3t/Value"
FORMS = {
    "pem": (f"the key {PEM} cannot be used", "the key *** cannot be used"),
    "pem in one line": (json.dumps(PEM), '"***"'),
    "pem, cut": (PEM[:200], "***"),
    "encrypted pem": ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----", "***"),
    "jwt": (f"token is {JWT}, expired", "token is ***, expired"),
    "bearer": ("Authorization: Bearer abcdefgh", "Authorization: ***"),
    "bearer alone": ("sent Bearer abc-12345 to it", "sent Bearer *** to it"),
    "basic": ("{'Authorization': 'Basic dXNlcjpwYXNz', 'Accept': 'x'}", "{'Authorization': '***', 'Accept': 'x'}"),
    "basic of bytes": ("{'authorization': b'Basic dXNlcjpwYXNz'}", "{'authorization': b'***'}"),
    "api key": ("ApiKey VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdw==", "ApiKey ***"),
    "x-api-key": ("X-Api-Key: abc", "X-Api-Key: ***"),
    "snowflake": ('Authorization: Snowflake Token="ver:3-hint:12-ETMs"', "Authorization: ***"),
    "snowflake in json": (r'{"h": "Snowflake Token=\"ver:3-hint:12\""}', r'{"h": "Snowflake Token=***"}'),
    "proxy": ("proxy-authorization=Basic abc", "proxy-authorization=***"),
    "password": ("password=hunter2;", "password=***;"),
    "password in quotes": ("password='it''s mine' and more", "password=*** and more"),
    "password in json": ('{"password": "a \\" b", "user": "u"}', '{"password": ***, "user": "u"}'),
    "password in json in json": (r"{\"password\": \"a b\", \"user\": 1}", r"{\"password\": ***, \"user\": 1}"),
    "password of a variable": ("SLUICEWAY_PASSWORD=hunter2", "SLUICEWAY_PASSWORD=***"),
    "passphrase": ("private_key_passphrase: hunter2", "private_key_passphrase: ***"),
    "cookie": ("Set-Cookie: a=b", "Set-Cookie: ***"),
    "sql": ("IDENTIFIED BY 'it''s \\' mine' REQUIRE SSL", "IDENTIFIED BY *** REQUIRE SSL"),
    "url": ("mysql://loader:p%40ss@db:3306/x", "mysql://loader:***@db:3306/x"),
    "proxy url": ("https://u:p@proxy.example.com", "https://u:***@proxy.example.com"),
    "aws key id": ("AKIAIOSFODNN7EXAMPLE is unknown", "*** is unknown"),
    "aws secret": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = ***"),
    "aws session": ("AWS_SESSION_TOKEN=FwoGZXIvYXdzE", "AWS_SESSION_TOKEN=***"),
    "signed by aws": (
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=A%2F1&X-Amz-Expires=60&X-Amz-Signature=0fa1",
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=***&X-Amz-Expires=60&X-Amz-Signature=***",
    ),
    "signed by google": ("?X-Goog-Signature=0fa1&x=1", "?X-Goog-Signature=***&x=1"),
    "signed by azure": (
        "https://a.blob.core.windows.net/c?sv=2&sig=a%2Fb%3D&se=1",
        "https://a.blob.core.windows.net/c?sv=2&sig=***&se=1",
    ),
    "slack": ("https://hooks.slack.com/services/T000/B000/XXXX", "https://hooks.slack.com/***"),
    "slack token": ("xoxb-17653672481-abc", "***"),
    "teams": (
        "https://acme.webhook.office.com/webhookb2/1/IncomingWebhook/2",
        "https://acme.webhook.office.com/***",
    ),
    "power automate": (
        "https://prod-1.westeurope.logic.azure.com:443/workflows/1?sp=a",
        "https://prod-1.westeurope.logic.azure.com:***",
    ),
    "discord": ("https://discord.com/api/webhooks/1/abc", "https://discord.com/api/webhooks/***"),
}


@pytest.mark.parametrize(("text", "masked"), FORMS.values(), ids=FORMS)
def test_a_secret_that_nobody_gave_us_is_known_by_its_form(text, masked):
    assert mask(text) == masked


@pytest.mark.parametrize("text", [masked for _, masked in FORMS.values()], ids=FORMS)
def test_what_is_masked_stays_as_it_is(text):
    assert mask(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Access denied for user 'loader'@'10.0.0.1' (using password: YES)",
        "source_system.auth.password: give exactly one of {env: NAME} and {file: PATH}",
        "write password: {env: SOURCE_PASSWORD}",
        "a secret: `{env: NAME}`",
        "UPDATE runs SET token = ?, steps = steps + 1 WHERE token = ?",
        "drive_table.password is missing; the basic authentication of the server is on",
        "https://es.company.com:9200/flights-*/_search?filter_path=hits&scroll=1m",
        "flights_20251115_00h_run1: FAILED in audit: the proof breaks at 'target_rows': expected 90, found 89",
        "the token was raised to 17 at 2025-11-15T00:00Z; its key is flight_id",
        "target_system.key: two rows have the same",
        "4bf92f3577b34da6a3ce929d0e0e4736 is a digest, 7f3a-11ee a hash",
        "",
    ],
)
def test_what_is_no_secret_is_not_masked(text):
    assert mask(text) == text


def spelled(secret: str) -> dict[str, str]:
    """How a driver, a server or a library may write what it was given."""
    return {
        "as it is": secret,
        "in a sentence": f"incorrect: «{secret}».",
        "repr": repr(secret),
        "json": json.dumps({"given": secret}),
        "json, as it is": json.dumps({"given": secret}, ensure_ascii=False),
        "json of javascript": json.dumps(secret).replace("/", "\\/"),
        "url": f"https://example.com/{quote(secret)}/x",
        "query": f"https://example.com/?a={quote(secret, safe='')}",
        "form": f"a={quote_plus(secret)}&b=1",
        "base64": base64.b64encode(secret.encode()).decode(),
        "url-safe base64": base64.urlsafe_b64encode(secret.encode()).decode(),
    }


SECRETS = {
    "plain": "canary1x",
    "with marks": "can/ary+\"'\\ \t%ä✓=",
    "with marks in base64": "canary~~??>>ÿÿ",
    "url": "https://intern.example.com/hook/canary-9b1c?x=1",
    "key": PEM,
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("form", spelled(""))
def test_a_secret_that_was_read_is_known_in_every_spelling(secret, form):
    remember(secret)
    text = spelled(secret)[form]
    masked = mask(text)
    assert "***" in masked
    pieces = [piece for piece in secret.split("\n") if len(piece) > 5]
    assert not any(piece in masked or quote(piece) in masked for piece in pieces)
    assert not {secret, *list(spelled(secret).values())} & {masked}


@pytest.mark.parametrize("secret", ["broken-\udce4-secret", "half-\ud83d-secret"])
def test_a_secret_that_is_no_proper_text_is_hidden_too(secret):
    remember(secret)
    assert mask(f"refused: {secret}") == "refused: ***"
    assert mask(f"refused: {json.dumps(secret)}") == 'refused: "***"'


def test_a_line_of_a_secret_of_several_lines_is_one_too():
    remember("first line of the secret, long\nsecond")
    assert mask("it begins with: first line of the secret, long") == "it begins with: ***"


def test_a_secret_inside_another_leaves_nothing_of_it():
    for secret in ("abcdef", "abcdefghi"):
        remember(secret)
    assert mask("abcdefghi abcdef") == "*** ***"


def test_words_that_are_too_short_are_left_alone():
    remember("2025")
    assert mask("2025-11-15") == "2025-11-15"


def test_what_is_remembered_is_bounded_and_the_newest_stay():
    first = "canary-first"
    remember(first)
    for number in range(MOST_KNOWN - 1):
        remember(f"canary-{number:06d}")
    assert mask(first) == "***"
    remember(first)  # read again: now it is the newest
    remember("canary-one-more")
    assert mask("canary-000000") == "canary-000000"
    assert mask(f"{first} canary-000001") == "*** ***"
    assert len(masking._known) == MOST_KNOWN


def test_reading_a_secret_makes_it_known_each_time_that_it_changes(tmp_path):
    file = tmp_path / "password"
    secret = Secret(file=file)
    for value in ("canary-before", "canary-after"):
        file.write_text(f"{value}\n")
        assert mask(value) == value
        secret.read()
    assert mask("canary-before canary-after") == "*** ***"


def every_error() -> list[SluicewayError]:
    """One of each class, with a secret in both of its texts."""
    text = "refused: canary-9b1c77, and Authorization: Bearer abc-12345678"
    found, todo = [], [SluicewayError]
    while todo:
        todo += (below := todo.pop().__subclasses__())
        found += below
    ours = [kind for kind in found if kind.__module__ == SluicewayError.__module__ and kind is not AuditMismatch]
    return [kind(text, hint=text) for kind in ours] + [AuditMismatch("outcomes", 1, 2, hint=text)]


def test_an_error_holds_no_secret_wherever_it_is_told_or_stored():
    remember("canary-9b1c77")
    errors = every_error()
    assert len(errors) >= 9
    for error in errors:
        texts = (str(error), error.message, error.hint, *map(str, error.args), repr(error))
        assert not [text for text in texts if "canary" in text or "abc-12345678" in text]
        assert error.hint == "refused: ***, and Authorization: ***"


def secret_fields() -> list[str]:
    """Every setting that takes a secret, or several, in any group of settings that there is."""
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("settings.py")):
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    found, todo = set(), [Group]
    while todo:
        todo += (below := todo.pop().__subclasses__())
        for group in below:
            if group.__module__.partition(".")[0] in PACKAGES:
                secrets = (name for name, field in group.model_fields.items() if "Secret" in str(field.annotation))
                found |= {f"{group.__module__}.{group.__name__}.{name}" for name in secrets}
    return sorted(found)


def everything_with(text: str) -> list[Event]:
    """Every event that has a free text, with `text` in each of them."""
    broken = failure(P3, "transient", "429", text)
    return [
        PhaseRetried(run(), P3, 1, run().window.width, "transient", "429", text),
        CleaningFailed(run(), P3, text),
        failed(run(), broken),
        failed(run(), type(broken)(P3, "permanent", "x", text, text, broken.at), quarantined=True),
        RunFenced(run(), text),
        LookFailed("flights", "transient", "429", text, text),
        ConfigRefused(text, (text, text)),
        AdminActed(text, text, "flights", text, text, text),
    ]


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("field", secret_fields())
def test_a_canary_in_any_secret_of_a_configuration_never_comes_out(field, as_json, monkeypatch):
    canary = f"kanarie-{field}"
    monkeypatch.setenv("OWN_SECRET", canary)
    assert Secret(env="OWN_SECRET").read() == canary
    stream = io.StringIO()
    lines = Lines(stream, json=as_json)
    with libraries(lines):
        for form in spelled(canary).values():
            for event in everything_with(f"the server said: {form}"):
                lines.hear(event)
            try:
                raise ConnectionError(form)
            except ConnectionError:
                logging.getLogger("a.driver").exception("with %s", {"given": form})
    lines.close()
    said = stream.getvalue()
    assert said.count("***") >= len(everything_with(""))
    assert not [form for form in spelled(canary).values() if form in said]
    assert "kanarie" not in said


def test_the_fields_are_all_that_a_configuration_has():
    fields = {name.rpartition(".")[2] for name in secret_fields()}
    assert {setting.keys[-1] for setting in settings() if setting.is_secret} <= fields
    assert len(secret_fields()) >= 12


async def test_a_driver_that_repeats_the_credential_tells_nobody(monkeypatch):
    canary = "Canary!9b1c/77"
    monkeypatch.setenv("SNOWFLAKE_TEST_PASSWORD", canary)
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (1, 20))
    stream = io.StringIO()
    lines = Lines(stream, json=True, level=logging.DEBUG)
    async with serving() as script:
        script.on_login = lambda _request, body: refused(390100, f"no such password: {body['data']['PASSWORD']}")
        account = Account(connection(script.port))
        with libraries(lines, logging.DEBUG):
            try:
                async with account.session(Tag()):
                    pass
            except SluicewayError as error:
                lines.hear(LookFailed("p", error.kind, error.code, f"{error.message} {canary}", error.hint))
                logging.getLogger(__name__).exception("the look failed")
        await account.aclose()
    assert any(login["PASSWORD"] == canary for login in script.logins)
    said = stream.getvalue()
    assert "look_failed" in said
    assert "Traceback" in said
    assert canary not in said
