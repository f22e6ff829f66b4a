"""Notifications by e-mail: plain text, handed to one server over TLS. The home of aiosmtplib."""

from __future__ import annotations

import socket
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime

import aiosmtplib

from service.notify.notice import Notice
from service.notify.posting import trusted
from service.notify.settings import Notifications, Smtp
from state.errors import ConfigurationError, PermanentError, SluicewayError, TransientError

PATH = "pipeline_metadata.notifications.smtp"
GOODBYE_SECONDS = 1.0
"""Time for a server's last word: the mail is handed over by then."""

NO_STARTTLS = "STARTTLS extension not supported"
"""What the library says where it has no error class of its own for it."""


async def send(notice: Notice, told: Notifications, seconds: float) -> None:
    """Hand a mail to the server; `seconds` for each of its answers.

    Raises `TransientError`, `ConfigurationError`; `PermanentError` if it took the mail for some addresses only.
    """
    smtp = told.smtp
    if smtp is None or not told.email:
        return
    client = aiosmtplib.SMTP(
        hostname=smtp.host,
        port=smtp.at,
        username=smtp.user,
        password=None if smtp.password is None else smtp.password.read(),
        use_tls=smtp.tls == "implicit",
        start_tls=smtp.tls == "starttls",
        tls_context=None if smtp.tls == "none" else await trusted(smtp.ca_file, f"{PATH}.ca_file"),
        local_hostname=socket.gethostname(),  # without it each connection asks a name server who we are
        timeout=seconds,
    )
    try:
        await client.connect()
        refused, _ = await client.send_message(mail(notice, smtp, told.email))
        with suppress(aiosmtplib.SMTPException):
            await client.quit(timeout=GOODBYE_SECONDS)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise meaning(smtp, error) from None
    finally:
        client.close()
    if refused:
        raise unknown_addresses(smtp, len(refused), len(told.email))


def mail(notice: Notice, smtp: Smtp, to: tuple[str, ...]) -> EmailMessage:
    """The mail. Its Message-ID stays the same when it is sent anew; programs that answer mails leave it alone."""
    made = EmailMessage(policy=POLICY)
    made["From"] = smtp.sender
    made["To"] = ", ".join(to)
    made["Subject"] = f"[sluiceway] {notice.title}"
    made["Date"] = format_datetime(notice.at)
    made["Message-ID"] = f"<{notice.id}@{smtp.sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made["X-Auto-Response-Suppress"] = "All"
    made["X-Sluiceway-Pipeline"] = notice.pipeline
    made["X-Sluiceway-Kind"] = notice.kind
    made.set_content(f"{notice.title}\n\n{notice.text}\n")
    return made


def meaning(smtp: Smtp, error: Exception) -> SluicewayError:
    """What an error of the library means. What a server says is not told: it may repeat what it was sent."""
    place = f"the mail server {smtp.host}:{smtp.at}"
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=refused):
            codes = [one.code for one in refused]
            return by_code(place, max(codes, default=550), "took none of the addresses", f"{PATH[:-5]}.email")
        case aiosmtplib.SMTPAuthenticationError(code=code):
            return by_code(place, code, "did not let us in", f"{PATH}.password")
        case aiosmtplib.SMTPSenderRefused(code=code):
            return by_code(place, code, "refused the sender", f"{PATH}.sender")
        case aiosmtplib.SMTPResponseException(code=code):
            return by_code(place, code, "refused", PATH)
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return TransientError(f"{place} did not answer in time", code="timeout")
    if is_about_tls(error):
        said = f"no safe connection to {place}: its certificate or its TLS is not accepted"
        hint = f"Set {PATH}.ca_file and {PATH}.host by its certificate, and {PATH}.tls to what it speaks."
        return ConfigurationError(said, hint=hint, code="tls", path=PATH)
    if isinstance(error, OSError):
        hint = "Check that it runs and that this machine may connect to it."
        return TransientError(f"{place} cannot be reached ({type(error).__name__})", hint=hint, code="unreachable")
    if NO_STARTTLS in str(error):
        hint = f"Set {PATH}.tls to what it speaks; nothing was sent to it."
        return ConfigurationError(f"{place} offers no STARTTLS", hint=hint, code="tls", path=f"{PATH}.tls")
    hint = f"Set {PATH}.user and {PATH}.password, and addresses in ASCII, to what it offers."
    return ConfigurationError(
        f"{place} lacks what is needed: a login, or another extension", hint=hint, code="smtp"
    )


def is_about_tls(error: BaseException | None) -> bool:
    """True if TLS is at the bottom of an error."""
    while error is not None:
        if type(error).__module__ == "ssl":
            return True
        error = error.__cause__
    return False


def by_code(place: str, code: int, said: str, path: str) -> SluicewayError:
    """4xx is for now, 5xx for good (RFC 5321)."""
    what = f"{place} {said} ({code})"
    if code < 500:
        return TransientError(what, hint="Its operator knows why.", code=str(code))
    return ConfigurationError(what, hint=f"Set {path} to what it accepts.", code=str(code), path=path)


def unknown_addresses(smtp: Smtp, refused: int, of: int) -> SluicewayError:
    return PermanentError(
        f"the mail server {smtp.host}:{smtp.at} took the mail, but refused {refused} of {of} addresses",
        hint=f"Mend {PATH[:-5]}.email; the others have it.",
        code="addresses",
    )
