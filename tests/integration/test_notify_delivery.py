"""Notifications arrive at real receivers, once each; a receiver that is away, slow or wrong holds up nobody."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from service.events import Event, PipelineRemoved
from service.notify import mail
from service.notify.courier import Courier, Pace, carrying
from service.notify.settings import Notifications
from service.retry import RetryPolicy
from state.errors import TransientError
from tests.integration.notify_receivers import (
    PASSWORD,
    USER,
    Gone,
    Hook,
    Post,
    Silent,
    context,
    hook,
    nobody_listens,
    post,
    serving,
)
from tests.unit.notify_world import failed, failure, finished, quarantined
from tests.unit.notify_world import settings as told_by_slack
from tests.unit.search_tls import CERTIFICATE

QUICK = Pace(seconds=0.5, retry=RetryPolicy(tries=4, base=0.01, cap=0.02), line=3)
NONE = {"slack": 0, "webhook": 0, "email": 0}
CANARY = "canary"


class Office:
    """A courier with what it noted; secrets are files in a folder."""

    def __init__(self, folder: Path, **pace: object) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.settings: dict[str, Notifications] = {}
        pace_of = msgspec.structs.replace(QUICK, **pace)
        self.courier = Courier(self.settings.get, pace=pace_of, note=self.notes.append)

    def secret(self, name: str, value: str) -> dict[str, str]:
        (self.folder / name).write_text(value)
        return {"file": str(self.folder / name)}

    def slack(self, url: str, pipeline: str = "flights", **fields: object) -> None:
        self.settings[pipeline] = told_by_slack(slack_webhook=self.secret(f"slack-{pipeline}", url), **fields)

    def webhook(self, url: str, **fields: object) -> None:
        group = {"url": self.secret("webhook", url), **fields}
        self.settings["flights"] = told_by_slack(slack_webhook=None, webhook=group)

    def email(self, port: int, tls: str, **fields: object) -> None:
        (self.folder / "ca.pem").write_text(CERTIFICATE)
        smtp: dict[str, object] = {
            "host": "127.0.0.1",
            "port": port,
            "tls": tls,
            "sender": "sluiceway@example.com",
        }
        if tls != "none":
            smtp["ca_file"] = str(self.folder / "ca.pem")
        smtp |= {"user": USER, "password": self.secret("password", PASSWORD)}
        smtp |= fields
        smtp = {key: value for key, value in smtp.items() if value is not None}
        to = ["one@example.com", "two@example.com"]
        self.settings["flights"] = told_by_slack(slack_webhook=None, email=to, smtp=smtp)

    async def say(self, *events: Event, seconds: float = 60.0) -> None:
        """Hear `events`, send what they give, and end."""
        async with carrying(self.courier, seconds):
            for event in events:
                self.courier.hear(event)

    def counts(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        return self.courier.sent, self.courier.failed, self.courier.dropped


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


async def until(true: Callable[[], bool]) -> None:
    """Wait for what is sure to come; the test's own limit is the end of patience."""
    while not true():  # noqa: ASYNC110 the courier has no event for its counters
        await asyncio.sleep(0.01)


def bodies(receiver: Hook) -> list[dict]:
    return [json.loads(posted.body) for posted in receiver.got]


async def test_slack_gets_one_message_with_blocks_and_text(office: Office):
    async with hook() as receiver:
        office.slack(receiver.url)
        await office.say(quarantined(0), quarantined(1), quarantined(0))
    [message] = bodies(receiver)
    assert message["text"].startswith("flights: 2 runs alike: quarantined")
    assert "sluiceway retry flights_20251115_00h_run1" in message["text"]
    assert message["blocks"][0]["type"] == "header"
    assert office.counts() == ({**NONE, "slack": 1}, NONE, NONE)
    assert office.notes == []


async def test_a_webhook_gets_json_with_its_headers_and_a_signature_that_a_receiver_can_check(office: Office):
    async with hook() as receiver:
        headers = {"Authorization": office.secret("auth", "Bearer canary-11")}
        office.webhook(receiver.url, headers=headers, signing_key=office.secret("key", "a key of ours"))
        await office.say(failed())
    [posted] = receiver.got
    body = json.loads(posted.body)
    assert (body["schema"], body["kind"]) == ("sluiceway.notification/1", "failed")
    assert posted.headers["Authorization"] == "Bearer canary-11"
    assert posted.headers["Content-Type"] == "application/json"
    assert posted.headers["webhook-id"] == body["id"]
    content = f"{body['id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
    digest = hmac.new(b"a key of ours", content, hashlib.sha256).digest()
    assert posted.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("answer", [500, 503, 408, 429, (429, {"Retry-After": "0"}), "close", "hang"])
async def test_a_receiver_that_fails_for_now_is_asked_again_with_the_same_notification(office: Office, answer):
    async with hook(answer, answer) as receiver:
        office.webhook(receiver.url)
        await office.say(quarantined())
    assert len(receiver.got) == 3
    assert len({json.dumps(body) for body in bodies(receiver)}) == 1
    assert office.counts() == ({**NONE, "webhook": 1}, NONE, NONE)
    [note] = office.notes
    assert "not sent yet" in note
    said = {"hang": "did not answer within 0.5 s", "close": "cannot be reached"}
    assert said.get(str(answer), "the webhook answered") in note


async def test_a_yes_is_a_yes_though_the_rest_of_the_answer_never_comes(office: Office):
    async with hook("cut") as receiver:
        office.slack(receiver.url)
        await office.say(quarantined())
    assert len(receiver.got) == 1
    assert office.courier.sent["slack"] == 1


async def test_who_asks_for_more_patience_than_there_is_is_not_asked_again_at_once(office: Office):
    async with hook((429, {"Retry-After": "86400"})) as receiver:
        office.slack(receiver.url)
        await office.say(quarantined())
    assert len(receiver.got) == 1
    assert office.courier.failed["slack"] == 1


ELSEWHERE = {"Location": "/elsewhere"}


@pytest.mark.parametrize("answer", [(307, ELSEWHERE), (308, ELSEWHERE), 301, 400, 401, 403, 404, 410])
async def test_a_receiver_that_refuses_is_asked_once_and_no_redirect_is_followed(office: Office, answer):
    async with hook(answer) as receiver:
        office.slack(receiver.url)
        await office.say(quarantined())
    assert len(receiver.got) == 1
    assert office.counts() == (NONE, {**NONE, "slack": 1}, NONE)
    [note] = office.notes
    assert "flights_20251115_00h_run1" in note
    assert "slack_webhook" in note or "does not take" in note


async def test_after_a_receiver_gave_up_on_a_notification_it_gets_the_next(office: Office):
    async with hook(404) as receiver:
        office.slack(receiver.url)
        async with carrying(office.courier, 60.0):
            office.courier.hear(quarantined(0))
            await receiver.came.wait()
            receiver.came.clear()
            office.courier.hear(failed(1))
            await receiver.came.wait()
    assert office.counts() == ({**NONE, "slack": 1}, {**NONE, "slack": 1}, NONE)


async def test_nobody_there_at_all(office: Office):
    office.slack(f"http://127.0.0.1:{nobody_listens()}/{CANARY}")
    await office.say(quarantined())
    assert office.counts() == (NONE, {**NONE, "slack": 1}, NONE)
    assert "cannot be reached" in office.notes[-1]


async def test_what_nobody_heard_is_told_again_when_it_happens_again(office: Office):
    async with hook(404) as receiver:
        office.slack(receiver.url)
        async with carrying(office.courier, 60.0):
            office.courier.hear(failed())
            await until(lambda: office.courier.failed["slack"] == 1)
            office.courier.hear(failed())
    assert len(receiver.got) == 2
    assert office.courier.sent["slack"] == 1


@pytest.mark.parametrize(
    "secret", ["not a url", "ftp://example.com/x", "http://", "http://[::1", "/services/canary"]
)
async def test_a_url_that_is_none_is_named_by_its_setting_and_not_repeated(office: Office, secret):
    office.slack(secret)
    await office.say(quarantined())
    [note] = office.notes
    assert "pipeline_metadata.notifications.slack_webhook refers to is no URL" in note
    assert secret not in note


async def test_a_secret_that_is_not_there_costs_one_notification_and_no_more(office: Office):
    async with hook() as receiver:
        office.slack(receiver.url)
        path = office.folder / "slack-flights"
        path.unlink()
        async with carrying(office.courier, 60.0):
            office.courier.hear(quarantined(0))
            await until(lambda: office.courier.failed["slack"] == 1)
            path.write_text(receiver.url)
            office.courier.hear(quarantined(1))
    assert len(receiver.got) == 1
    assert "cannot read the secret" in office.notes[0]


async def test_a_certificate_is_checked(office: Office):
    (office.folder / "ca.pem").write_text(CERTIFICATE)
    async with hook(trust=context()) as receiver:
        office.webhook(receiver.url)
        await office.say(quarantined())
        assert receiver.got == []
        assert "certificate or TLS is not accepted" in office.notes[-1]
        trusting = Office(office.folder)
        trusting.webhook(receiver.url, ca_file=str(office.folder / "ca.pem"))
        await trusting.say(quarantined())
        assert len(receiver.got) == 1


async def test_a_proxy_of_the_environment_is_used(office: Office, monkeypatch):
    async with hook() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.partition("/services")[0])
        monkeypatch.delenv("no_proxy", raising=False)
        office.slack("http://hooks.example.invalid/services/x")
        await office.say(quarantined())
    assert len(proxy.got) == 1
    assert proxy.got[0].headers["Host"] == "hooks.example.invalid"


async def test_a_receiver_that_hangs_holds_up_no_other_pipeline_and_no_other_channel(office: Office):
    async with hook(*["hang"] * 9) as hanging, hook() as quick:
        office.slack(hanging.url, pipeline="stuck")
        both = {"webhook": {"url": office.secret("both", quick.url)}}
        office.slack(hanging.url, **both)
        office.slack(quick.url, pipeline="other")
        slow = Office(office.folder, seconds=600.0)
        slow.settings = office.settings
        slow.courier = Courier(slow.settings.get, pace=Pace(seconds=600.0), note=slow.notes.append)
        async with carrying(slow.courier, 0.0):
            for pipeline in ("stuck", "flights", "other"):
                slow.courier.hear(quarantined(pipeline=pipeline))
            await until(lambda: slow.courier.sent == {"slack": 1, "webhook": 1, "email": 0})
    assert slow.courier.dropped == {"slack": 2, "webhook": 0, "email": 0}
    assert sum("no time left" in note for note in slow.notes) == 2


async def test_while_a_receiver_is_away_what_waits_is_bounded_and_the_oldest_is_given_up_and_counted(tmp_path):
    async with hook("hang") as receiver:
        patient = Office(tmp_path, seconds=600.0)
        patient.slack(receiver.url)
        async with carrying(patient.courier, 60.0):
            patient.courier.hear(quarantined(0, failure(code="c0")))
            await receiver.came.wait()
            for n in range(1, 7):
                patient.courier.hear(quarantined(n, failure(code=f"c{n}")))
            await until(lambda: patient.courier.dropped["slack"] == 4)
            receiver.let_go.set()
    said = [body["text"].split()[1] for body in bodies(receiver)]
    assert said == [f"flights_20251115_0{n}h_run1:" for n in (0, 5, 6)]
    assert patient.counts() == ({**NONE, "slack": 3}, NONE, {**NONE, "slack": 4})


async def test_a_cancellation_that_a_library_swallows_ends_the_courier_all_the_same(office: Office, monkeypatch):
    begun = asyncio.Event()

    async def swallowing(*_given: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TransientError("late") from None

    monkeypatch.setattr(mail, "send", swallowing)
    office.email(nobody_listens(), "starttls")
    hours = Pace(retry=RetryPolicy(tries=9, base=9000.0, cap=9000.0))
    office.courier = Courier(office.settings.get, pace=hours, note=office.notes.append)
    async with carrying(office.courier, 0.0):
        office.courier.hear(quarantined())
        await begun.wait()
    assert office.counts() == (NONE, NONE, {**NONE, "email": 1})


async def test_a_pipeline_that_is_removed_is_told_of_no_more(office: Office):
    async with hook() as receiver:
        office.slack(receiver.url, gather_seconds=3600)
        async with carrying(office.courier, 60.0):
            office.courier.hear(quarantined())
            office.courier.hear(PipelineRemoved("flights"))
    assert receiver.got == []


async def test_settings_that_change_count_for_the_next_try(office: Office):
    async with hook(500) as old, hook() as new:
        office.slack(old.url)
        async with carrying(office.courier, 60.0):
            office.courier.hear(quarantined())
            await old.came.wait()
            office.slack(new.url)
    assert (len(old.got), len(new.got)) == (1, 1)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_mail_is_handed_over_encrypted_after_a_login(office: Office, tls):
    async with post(tls) as server:
        office.email(server.port, tls)
        await office.say(quarantined())
    [came] = server.got
    assert (came.sender, came.to) == ("sluiceway@example.com", ("one@example.com", "two@example.com"))
    assert (came.encrypted, came.user) == (True, USER)
    assert came.message["Subject"].startswith("[sluiceway] flights: flights_20251115_00h_run1: quarantined")
    assert came.message["Auto-Submitted"] == "auto-generated"
    assert "sluiceway retry flights_20251115_00h_run1" in came.message.get_content()
    assert office.counts() == ({**NONE, "email": 1}, NONE, NONE)
    assert office.notes == []


async def test_a_mail_server_of_this_machine_needs_neither_tls_nor_login(office: Office):
    async with post("none", login=False) as server:
        office.email(server.port, "none", user=None, password=None)
        await office.say(quarantined())
    assert [mail.encrypted for mail in server.got] == [False]


@pytest.mark.parametrize(
    "refusal",
    [
        ("RCPT", "451 greylisted"),
        ("DATA", "452 disk full"),
        ("DATA", "close"),
    ],
)
async def test_a_mail_that_is_refused_for_now_is_sent_again_as_the_same(office: Office, refusal):
    several = [("RCPT", refusal[1])] * 2 if refusal[0] == "RCPT" else [refusal]
    async with post("starttls", *several) as server:
        office.email(server.port, "starttls")
        await office.say(quarantined())
    [came] = server.got
    assert came.to == ("one@example.com", "two@example.com")
    assert office.counts() == ({**NONE, "email": 1}, NONE, NONE)
    assert len(server.logins) == 2


@pytest.mark.parametrize("refusals", [[("DATA", "554 spam")], [("RCPT", "550 nobody")] * 2])
async def test_a_mail_that_is_refused_for_good_is_not_sent_again(office: Office, refusals):
    async with post("starttls", *refusals) as server:
        office.email(server.port, "starttls")
        await office.say(quarantined())
    assert server.got == []
    assert len(server.logins) == 1
    assert office.counts() == (NONE, {**NONE, "email": 1}, NONE)


async def test_an_address_that_is_refused_keeps_the_others_from_nothing_and_is_noted(office: Office):
    async with post("starttls", ("RCPT one@example.com", "550 nobody")) as server:
        office.email(server.port, "starttls")
        await office.say(quarantined())
    assert [mail.to for mail in server.got] == [("two@example.com",)]
    assert "refused 1 of 2 addresses" in office.notes[0]


async def test_a_wrong_password_is_a_setting_to_mend_and_is_not_tried_again(office: Office):
    async with post("starttls") as server:
        office.email(server.port, "starttls", password=office.secret("wrong", "canary-wrong"))
        await office.say(quarantined())
    assert server.logins == [(USER, False)] * len(server.logins)
    [note] = office.notes
    assert "did not let us in (535)" in note
    assert "smtp.password" in note
    assert office.courier.failed["email"] == 1


async def test_a_server_without_starttls_gets_neither_password_nor_mail(office: Office):
    async with post("none") as server:
        office.email(server.port, "starttls")
        await office.say(quarantined())
    assert (server.logins, server.got) == ([], [])
    assert "offers no STARTTLS" in office.notes[0]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_mail_server_whose_certificate_is_not_known_gets_neither_password_nor_mail(office: Office, tls):
    async with post(tls) as server:
        office.email(server.port, tls, ca_file=None)
        await office.say(quarantined())
    assert (server.logins, server.got) == ([], [])
    assert "certificate or its TLS is not accepted" in office.notes[0]


async def test_a_mail_server_that_is_not_there(office: Office):
    office.email(nobody_listens(), "starttls")
    await office.say(quarantined())
    assert office.counts() == (NONE, {**NONE, "email": 1}, NONE)
    assert "cannot be reached" in office.notes[-1]


@pytest.mark.parametrize(
    ("server", "words"), [(lambda: Silent(asyncio.Event()), "did not answer in time"), (Gone, "cannot be reached")]
)
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_mail_server_that_says_nothing_or_hangs_up(office: Office, server, words, tls):
    async with serving(server) as port:
        office.email(port, tls)
        await office.say(quarantined())
    assert office.counts() == (NONE, {**NONE, "email": 1}, NONE)
    assert words in office.notes[-1] or (tls == "implicit" and "TLS" in office.notes[-1])


@asynccontextmanager
async def telling(office: Office, wrong: Callable[[Office, Hook, Post], None]) -> AsyncIterator[None]:
    async with hook(*[(500, {"X-Said": CANARY})] * 20) as receiver, post("starttls") as server:
        wrong(office, receiver, server)
        yield


@pytest.mark.parametrize(
    "wrong",
    [
        lambda office, receiver, _server: office.slack(receiver.url),
        lambda office, receiver, _server: office.slack(receiver.url.replace("http:", "https:")),
        lambda office, _receiver, _server: office.slack(f"http://{CANARY}.invalid/{CANARY}"),
        lambda office, receiver, _server: office.webhook(
            receiver.url, headers={"X-Key": office.secret("h", f"{CANARY}\n{CANARY}")}
        ),
        lambda office, receiver, _server: office.webhook(
            receiver.url, signing_key=office.secret("k", f"whsec_{CANARY}!")
        ),
        lambda office, _receiver, server: office.email(
            server.port, "starttls", password=office.secret("p", f"{CANARY}-wrong")
        ),
        lambda office, _receiver, server: office.email(server.port, "implicit"),
    ],
)
async def test_no_secret_is_in_what_is_noted_of_a_receiver_that_fails_x9(office: Office, wrong, caplog):
    caplog.set_level("DEBUG")
    async with telling(office, wrong):
        await office.say(quarantined())
    assert sum(office.courier.failed.values()) == 1
    assert office.notes
    assert CANARY not in "".join(office.notes)
    ours = [
        record.getMessage() for record in caplog.records if record.name != "aiohttp.access"
    ]  # the receiver's own
    assert CANARY not in "".join(ours)


async def test_the_end_is_sent_after_what_it_ends(office: Office):
    async with hook() as receiver:
        office.slack(receiver.url)
        async with carrying(office.courier, 60.0):
            office.courier.hear(quarantined())
            await receiver.came.wait()
            office.courier.hear(finished())
    assert [body["text"].split(": ")[2].split("\n")[0] for body in bodies(receiver)] == [
        "quarantined, an operator decides",
        "recovered",
    ]


async def test_a_courier_without_anything_to_tell_ends_at_once(office: Office):
    office.slack("http://127.0.0.1:9/")
    await office.say(finished(), finished(1))
    assert office.counts() == (NONE, NONE, NONE)


def test_tls_of_tests_is_real():
    assert context().minimum_version is ssl.TLSVersion.TLSv1_2
