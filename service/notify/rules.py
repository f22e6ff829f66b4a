"""Rules between settings of notifications; they are asked by `service/rules.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from service.problems import Problem, Severity

if TYPE_CHECKING:
    from service.settings import PipelineConfig

PATH = "pipeline_metadata.notifications"
OWN_HEADERS = ("content-length", "content-type", "host", "transfer-encoding")
"""Headers that belong to the sending itself."""
BREAKDOWNS = {"failed", "quarantined", "audit_mismatch", "freshness_missed"}


def mail_needs_a_server(config: PipelineConfig) -> Iterator[Problem]:
    told = config.pipeline_metadata.notifications
    if told.email and told.smtp is None:
        yield Problem(f"{PATH}.smtp", "mails need a server", "Give host and sender, or leave out email.")
    if told.smtp is not None and not told.email:
        yield Problem(
            f"{PATH}.email",
            "a mail server, and nobody to write to",
            "Name the addresses, or leave out smtp.",
            severity=Severity.WARNING,
        )


def a_login_has_two_parts(config: PipelineConfig) -> Iterator[Problem]:
    smtp = config.pipeline_metadata.notifications.smtp
    if smtp is None or (smtp.user is None) == (smtp.password is None):
        return
    missing, there = ("password", "user") if smtp.password is None else ("user", "password")
    yield Problem(f"{PATH}.smtp.{missing}", f"{there} is of no use without it", f"Give both or leave out {there}.")


def plain_mail_stays_here(config: PipelineConfig) -> Iterator[Problem]:
    smtp = config.pipeline_metadata.notifications.smtp
    if smtp is None:
        return
    if smtp.tls == "none" and not (smtp.is_local or smtp.allow_plain):
        yield Problem(
            f"{PATH}.smtp.tls",
            f"whoever listens on the way to {smtp.host} would read mails and password",
            "Use starttls or implicit; or say allow_plain: true where nobody else can listen.",
            value="none",
        )
    if smtp.tls == "none" and smtp.ca_file is not None:
        yield Problem(f"{PATH}.smtp.ca_file", "without TLS there is nothing to check", "Leave it out, or use TLS.")


def own_headers_stay(config: PipelineConfig) -> Iterator[Problem]:
    webhook = config.pipeline_metadata.notifications.webhook
    for name in webhook.headers if webhook else ():
        if name.lower() in OWN_HEADERS or name.lower().startswith("webhook-"):
            yield Problem(
                f"{PATH}.webhook.headers.{name}",
                f"{name} is set by the sending itself",
                "Leave it out, or send yours under another name.",
            )


def somebody_is_told(config: PipelineConfig) -> Iterator[Problem]:
    told = config.pipeline_metadata.notifications
    if told.channels and not BREAKDOWNS & set(told.on):
        yield Problem(
            f"{PATH}.on",
            "nothing would ever be told: recovered follows something that was told",
            "Add quarantined, or leave `on` out.",
            severity=Severity.WARNING,
        )
    if "on" in told.model_fields_set and not told.channels:
        yield Problem(
            f"{PATH}.on",
            "nobody is told",
            "Give slack_webhook, webhook, or email with smtp.",
            severity=Severity.WARNING,
        )


JUDGES = (mail_needs_a_server, a_login_has_two_parts, plain_mail_stays_here, own_headers_stay, somebody_is_told)
