"""What each channel is given: Slack's blocks with text, the declared JSON with its signature, a mail."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest

from service.notify.desk import Desk
from service.notify.mail import mail
from service.notify.notice import LONGEST, Notice, lasting
from service.notify.posting import retry_after
from service.notify.settings import Smtp, Webhook
from service.notify.slack import SECTION, message
from service.notify.webhook import Body, body_of, header, signed
from state.errors import ConfigurationError
from state.settings import Secret
from tests.unit.notify_world import START, failure, finished, quarantined, set_aside, settings

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The example key of https://www.standardwebhooks.com."""


def told(*events: object, **fields: object) -> Notice:
    desk = Desk("flights", "")
    for event in events:
        desk.hear(event, settings(**fields), 0.0)
    return desk.due(settings(**fields), 0.0)[-1].notice


def test_rows_set_aside_are_told_with_their_number_their_place_and_what_to_do():
    notice = told(set_aside())
    assert notice.title.endswith("loaded, but for rows that were set aside")
    said = dict(notice.rows)
    assert said["what"] == "3 rows do not fit their columns, and a policy set them aside"
    assert said["data"].startswith("1,000 rows are merged and proven")
    assert "__SLUICEWAY_QUARANTINE" in said["do"]
    assert "sluiceway backfill --from 2025-11-15T00:00Z --to 2025-11-15T01:00Z" in said["do"]


def test_slack_gets_a_heading_a_section_for_each_line_and_the_same_as_text():
    notice = told(quarantined())
    made = message(notice)
    assert [block["type"] for block in made["blocks"]] == ["header", *["section"] * len(notice.rows), "context"]
    assert made["blocks"][0]["text"]["text"].endswith(notice.title)
    for (name, value), block in zip(notice.rows, made["blocks"][1:-1], strict=True):
        assert block["text"] == {"type": "mrkdwn", "text": f"*{name}*  {value}"}
    assert made["text"] == f"{notice.title}\n{notice.text}"


def test_slack_takes_no_mention_and_no_link_from_an_error():
    made = message(told(quarantined(why=failure(message="<!channel> & <http://x|y>"))))
    said = json.dumps(made)
    assert "<!channel>" not in said
    assert "&lt;!channel&gt; &amp; &lt;http://x|y&gt;" in said


def test_a_long_error_fits_into_slacks_limits():
    made = message(told(quarantined(why=failure(message="&" * 20_000))))
    assert len(made["blocks"]) <= 50
    for block in made["blocks"][1:-1]:
        assert len(block["text"]["text"]) <= SECTION
    assert len(made["blocks"][0]["text"]["text"]) <= 150
    assert len(made["text"]) <= 40_000
    assert len(told(quarantined(why=failure(message="x" * 20_000))).text) < LONGEST + 1000


def test_the_body_says_all_of_it_in_the_declared_form():
    notice = told(quarantined(0), quarantined(1))
    body = json.loads(msgspec.json.encode(body_of(notice)))
    assert list(body) == list(Body.__struct_fields__)
    assert body["schema"] == "sluiceway.notification/1"
    assert (body["kind"], body["pipeline"], body["count"], body["again"]) == ("quarantined", "flights", 2, False)
    assert body["runs"][0] == {
        "run": "flights_20251115_00h_run1",
        "window": "[2025-11-15T00:00Z, 2025-11-15T01:00Z)",
    }
    assert body["failure"]["code"] == "type"
    assert body["advice"]["command"].startswith("sluiceway retry flights_20251115_0")
    assert body["text"] == notice.text
    ended = json.loads(msgspec.json.encode(body_of(told_end())))
    assert (ended["kind"], ended["failure"], ended["advice"]["happens"]) == (
        "recovered",
        None,
        "Nothing more to do.",
    )


def told_end() -> Notice:
    desk = Desk("flights", "")
    desk.hear(quarantined(), settings(), 0.0)
    desk.due(settings(), 0.0)
    desk.hear(finished(), settings(), 0.0)
    return desk.due(settings(), 0.0)[0].notice


def test_the_signature_is_that_of_standard_webhooks(tmp_path):
    (tmp_path / "key").write_text(KEY)
    webhook = Webhook(url=Secret(env="HOOK"), signing_key=Secret(file=tmp_path / "key"))
    content = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    # the example of the specification, with the signature that it gives
    assert signed(webhook, content) == {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}


def test_a_key_of_ones_own_is_taken_as_it_is_and_without_one_nothing_is_signed(tmp_path):
    (tmp_path / "key").write_text("my own key\n")
    webhook = Webhook(url=Secret(env="HOOK"), signing_key=Secret(file=tmp_path / "key"))
    digest = base64.b64encode(hmac.new(b"my own key", b"x", hashlib.sha256).digest()).decode()
    assert signed(webhook, b"x") == {"webhook-signature": f"v1,{digest}"}
    assert signed(Webhook(url=Secret(env="HOOK")), b"x") == {}


@pytest.mark.parametrize("value", ["whsec_???", "whsec_c2VjcmV0c2VjcmV"])
def test_a_key_that_is_none_is_named_by_its_setting_and_not_repeated(tmp_path, value):
    (tmp_path / "key").write_text(value)
    with pytest.raises(ConfigurationError) as caught:
        signed(Webhook(url=Secret(env="HOOK"), signing_key=Secret(file=tmp_path / "key")), b"x")
    assert caught.value.path == "pipeline_metadata.notifications.webhook.signing_key"
    assert value.removeprefix("whsec_") not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("value", ["two\nlines", "Grüße"])
def test_a_header_that_cannot_be_sent_is_named_and_not_repeated(tmp_path, value):
    (tmp_path / "header").write_text(value, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        header("X-Key", Secret(file=tmp_path / "header"))
    assert caught.value.path == "pipeline_metadata.notifications.webhook.headers.X-Key"
    assert value not in f"{caught.value.message} {caught.value.hint}"


def test_a_mail_has_the_headers_that_programs_look_for():
    notice = told(quarantined())
    smtp = Smtp(host="mail.example.com", sender="sluiceway@example.com")
    made = mail(notice, smtp, ("a@example.com", "b@example.org"))
    assert made["From"] == "sluiceway@example.com"
    assert made["To"] == "a@example.com, b@example.org"
    assert made["Subject"] == f"[sluiceway] {notice.title}"
    assert made["Auto-Submitted"] == "auto-generated"
    assert made["Message-ID"] == f"<{notice.id}@example.com>"
    assert made["Date"] == format_datetime(notice.at)
    assert made.get_content_type() == "text/plain"
    assert made.get_content().replace("\r\n", "\n") == f"{notice.title}\n\n{notice.text}\n"


def test_no_secret_that_was_read_stands_in_a_notification(monkeypatch):
    monkeypatch.setenv("HOOK_OF_MINE", "canary-8c1f77-of-a-url")
    Secret(env="HOOK_OF_MINE").read()
    why = failure(message="posting to canary-8c1f77-of-a-url, password=canary-2b: refused")
    notice = told(quarantined(why=msgspec.structs.replace(why, hint="Not canary-8c1f77-of-a-url again.")))
    smtp = Smtp(host="mail.example.com", sender="sluiceway@example.com")
    for said in (
        json.dumps(message(notice)),
        msgspec.json.encode(body_of(notice)).decode(),
        mail(notice, smtp, ("a@example.com",)).as_string(),
    ):
        assert "canary" not in said
        assert "posting to" in said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("Sat, 15 Nov 2025 00:01:30 GMT", 90.0),
        ("Fri, 14 Nov 2025 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(text, seconds):
    assert retry_after(text, START) == seconds


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(seconds=0), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(hours=3, minutes=12, seconds=5), "3 h 12 min"),
        (timedelta(days=2), "2 d"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(span, said):
    assert lasting(span) == said


def test_when_it_was_is_in_utc():
    assert told(quarantined()).at.tzinfo is UTC
    assert told(quarantined()).at <= datetime.now(UTC)
