"""Settings of notifications: `pipeline_metadata.notifications` in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from state.settings import Group, Secret

DAY_SECONDS = 86400
PORTS = {"starttls": 587, "implicit": 465, "none": 25}

Kind = Literal["failed", "quarantined", "recovered", "audit_mismatch", "freshness_missed", "rows_set_aside"]
Email = Annotated[str, Field(pattern=r"^[^@\s<>\"(),:;\[\\\]]+@[^@\s<>\"(),:;\[\\\]]+\.[^@\s<>\"(),:;\[\\\]]+$")]
Name = Annotated[str, Field(min_length=1)]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
WholeSeconds = Annotated[int, Field(strict=True, ge=0, le=DAY_SECONDS)]


class Webhook(Group):
    """A receiver of one's own: a POST with a JSON body for each notification."""

    url: Secret
    """URL that is posted to, as a reference: whoever knows it may post there. No default."""
    headers: Mapping[HeaderName, Secret] = {}
    """Headers that are sent along, such as `Authorization`, each value as a reference. Default none."""
    signing_key: Secret | None = None
    """Key that each body is signed with (HMAC-SHA256, headers of Standard Webhooks), as a reference; one that
    begins with `whsec_` goes on in base64. Default none: nothing is signed."""
    ca_file: Path | None = None
    """Certificates that the receiver's is checked against. Default: those of this machine."""


class Smtp(Group):
    """The server that mails are handed to."""

    host: Name
    """Name or address of the server; with TLS the one that its certificate must bear. No default."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    """Port of the server. Default 587 with starttls, 465 with implicit, 25 with none."""
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    """How the connection is encrypted: `starttls` after a greeting, `implicit` from the first byte; a server that
    offers none is refused before the password is sent. Default starttls: what port 587 speaks."""
    allow_plain: StrictBool = False
    """Whether `tls: none` may leave this machine, password and all. Default false."""
    user: Name | None = None
    """User name, together with `password`. Default none: the server takes mails from this address anyway."""
    password: Secret | None = None
    """Password of `user`, as a reference. Default none."""
    sender: Email
    """Address that mails come from. No default."""
    ca_file: Path | None = None
    """Certificates that the server's is checked against. Default: those of this machine."""

    @property
    def at(self) -> int:
        """The port that is meant."""
        return PORTS[self.tls] if self.port is None else self.port

    @property
    def is_local(self) -> bool:
        """True if nothing that is sent to the server leaves this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Notifications(Group):
    """Who is told what."""

    slack_webhook: Secret | None = None
    """Incoming webhook of a Slack channel, or of what takes the same (Mattermost), as a reference. Default
    none."""
    webhook: Webhook | None = None
    """A receiver of one's own: a POST with a JSON body for each notification. Default none."""
    email: tuple[Email, ...] = ()
    """Addresses that get a mail, all the same one; needs `smtp`. Default none."""
    smtp: Smtp | None = None
    """The server that mails are handed to. Default none."""
    on: tuple[Kind, ...] = ("quarantined", "audit_mismatch", "freshness_missed", "rows_set_aside", "recovered")
    """What is told. A broken proof is told as audit_mismatch, or as quarantined where only that is named;
    rows_set_aside of a window that is loaded but for rows in the quarantine table; recovered only after something
    that was told. Default all but failed: a failure that goes on by itself needs nobody."""
    gather_seconds: WholeSeconds = 10
    """Seconds that a notification waits for others like it, which then go out as one with their number. Default
    10: an outage fails many windows at once."""
    spacing_seconds: WholeSeconds = 60
    """Seconds between two notifications of a pipeline, once it has sent five in a row; the worst goes first, and
    what waits is gathered, not lost. Default 60: a person reads no faster."""
    repeat_after_seconds: WholeSeconds = 14_400
    """Seconds after which what is still broken is told again; 0 for never. Default 14,400 (4 hours): twice in a
    working day."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways that are configured: `slack`, `webhook`, `email`."""
        ways = {"slack": self.slack_webhook, "webhook": self.webhook, "email": self.email and self.smtp}
        return tuple(name for name, way in ways.items() if way)
