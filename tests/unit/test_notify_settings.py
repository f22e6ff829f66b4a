"""Settings of notifications that do not go together are told with path and remedy (X-11)."""

from __future__ import annotations

import pytest

from service.config import validate_config
from service.notify.settings import Smtp
from service.problems import Severity

PATH = "pipeline_metadata.notifications"
SMTP = {"host": "mail.example.com", "sender": "me@example.com"}
MAIL = {"email": ["team@example.com"], "smtp": SMTP}


def problems(told: dict) -> dict[str, tuple[Severity, str, str]]:
    config = {
        "config_version": 1,
        "pipeline_metadata": {"pipeline_name": "flights", "notifications": told},
        "windows": {"start": "2013-01-01T00:00:00Z"},
        "source_system": {"type": "files", "path": "in/*.parquet", "cursor": "at"},
        "stage_system": {"directory": "stage"},
        "target_system": {"type": "duckdb", "database": "w.duckdb", "table": "flights", "key": ["id"]},
    }
    found = validate_config(config)
    assert all(problem.remedy for problem in found)
    return {problem.path.removeprefix(f"{PATH}."): (problem.severity, problem.message) for problem in found}


@pytest.mark.parametrize(
    "told",
    [
        {"slack_webhook": {"env": "HOOK"}},
        {"webhook": {"url": {"env": "HOOK"}, "headers": {"Authorization": {"file": "token"}}}},
        MAIL,
        {**MAIL, "smtp": {**SMTP, "user": "me", "password": {"env": "P"}, "tls": "implicit", "ca_file": "ca.pem"}},
        {**MAIL, "smtp": {**SMTP, "tls": "none", "allow_plain": True}},
        {**MAIL, "smtp": {**SMTP, "tls": "none", "host": "localhost"}},
        {**MAIL, "smtp": {**SMTP, "tls": "none", "host": "127.0.0.1"}},
        {**MAIL, "smtp": {**SMTP, "tls": "none", "host": "::1"}},
        {**MAIL, "on": ["failed"]},
        {},
    ],
)
def test_what_goes_together_is_no_problem(told):
    assert problems(told) == {}


@pytest.mark.parametrize(
    ("told", "path", "words"),
    [
        ({"email": ["a@b.example"]}, "smtp", "mails need a server"),
        ({**MAIL, "smtp": {**SMTP, "user": "me"}}, "smtp.password", "user is of no use"),
        ({**MAIL, "smtp": {**SMTP, "password": {"env": "P"}}}, "smtp.user", "password is of no use"),
        ({**MAIL, "smtp": {**SMTP, "tls": "none"}}, "smtp.tls", "would read mails and password"),
        ({**MAIL, "smtp": {**SMTP, "tls": "none", "host": "localhost.example.com"}}, "smtp.tls", "would read"),
        (
            {**MAIL, "smtp": {**SMTP, "tls": "none", "allow_plain": True, "ca_file": "ca.pem"}},
            "smtp.ca_file",
            "nothing to check",
        ),
        (
            {"webhook": {"url": {"env": "H"}, "headers": {"Content-Type": {"env": "H"}}}},
            "webhook.headers.Content-Type",
            "set by the sending itself",
        ),
        (
            {"webhook": {"url": {"env": "H"}, "headers": {"Webhook-Id": {"env": "H"}}}},
            "webhook.headers.Webhook-Id",
            "set by the sending itself",
        ),
    ],
)
def test_what_does_not_is_an_error_at_its_key_x11(told, path, words):
    [(severity, message)] = [found for at, found in problems(told).items() if at == path]
    assert severity is Severity.ERROR
    assert words in message


@pytest.mark.parametrize(
    ("told", "path", "words"),
    [
        ({"smtp": SMTP}, "email", "nobody to write to"),
        ({**MAIL, "on": ["recovered"]}, "on", "nothing would ever be told"),
        ({**MAIL, "on": []}, "on", "nothing would ever be told"),
        ({"on": ["failed"]}, "on", "nobody is told"),
    ],
)
def test_what_tells_nobody_is_a_warning(told, path, words):
    [(at, (severity, message))] = problems(told).items()
    assert (at, severity) == (path, Severity.WARNING)
    assert words in message


def test_a_header_name_that_is_none_is_refused_x11():
    assert any(
        at.startswith("webhook")
        for at in problems({"webhook": {"url": {"env": "H"}, "headers": {"a b": {"env": "H"}}}})
    )


@pytest.mark.parametrize(
    "address", ["a b@c.example", "a@b", "<a@b.example>", "a,b@c.example", "a@b.example\r\nBcc: x"]
)
def test_an_address_that_could_be_more_than_one_is_refused(address):
    assert problems({**MAIL, "email": [address]})


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("none", 25)])
def test_the_port_is_the_usual_one_unless_given(tls, port):
    assert Smtp(host="h", sender="me@example.com", tls=tls).at == port
    assert Smtp(host="h", sender="me@example.com", tls=tls, port=2525).at == 2525
