"""One POST to a receiver, and what its answer means. Its URL is a secret: no error names it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from yarl import URL

from state.errors import ConfigurationError, PermanentError, SluicewayError, TransientError
from state.settings import Secret

CONNECT_SECONDS = 5.0
SOME_OTHER_TIME = (408, 425, 429)
REPLACE = "Set {path} to one that works; the secret is read anew each time."


class Receiver(msgspec.Struct, frozen=True):
    """Who is posted to. `name` and `path` (of the setting) are for messages."""

    name: str
    path: str
    url: Secret
    ca_file: Path | None = None


async def post(
    session: aiohttp.ClientSession, to: Receiver, body: bytes, headers: Mapping[str, str], seconds: float
) -> None:
    """Post once. Any 2xx is a yes, whatever follows it.

    Raises `TransientError` (with `retry_after` if asked for), `ConfigurationError`, `PermanentError`.
    """
    url = address(to)
    trust = await trusted(to.ca_file, f"{to.path}.ca_file")
    try:
        async with session.post(
            url,
            data=body,
            headers=headers,
            ssl=trust,
            proxy=proxy_for(url),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=seconds, connect=min(seconds, CONNECT_SECONDS)),
        ) as answer:
            status, asked = answer.status, retry_after(answer.headers.get("Retry-After", ""), datetime.now(UTC))
    except TimeoutError:
        raise TransientError(f"{to.name} did not answer within {seconds:g} s", code="timeout") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise broken(to, error) from None
    if not 200 <= status < 300:
        raise refusal(to, status, asked)


def address(to: Receiver) -> URL:
    """The URL that the secret holds. Raises `ConfigurationError`, which does not repeat it."""
    try:
        url = URL(to.url.read())
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"what {to.path} refers to is no URL like https://host/path",
            hint="Store the whole URL there, and nothing else.",
            code="url",
            path=to.path,
        )
    return url


def broken(to: Receiver, error: Exception) -> SluicewayError:
    """What a connection without an answer means. Only the kind of the error is told: its text may hold the URL."""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return ConfigurationError(
            f"no safe connection to {to.name}: its certificate or TLS is not accepted ({type(error).__name__})",
            hint="Mend its certificate, or name the one that signed it (ca_file; SSL_CERT_FILE for slack).",
            code="tls",
            path=to.path,
        )
    if isinstance(error, ValueError):
        return ConfigurationError(
            f"{to.name} cannot be posted to: its URL or one of the headers is not well formed",
            hint=REPLACE.format(path=to.path),
            code="url",
            path=to.path,
        )
    return TransientError(
        f"{to.name} cannot be reached ({type(error).__name__})",
        hint="Check that it runs and that this machine may connect to it.",
        code="unreachable",
    )


def refusal(to: Receiver, status: int, asked: float | None) -> SluicewayError:
    """What an answer other than 2xx means. What it says besides is not told: it may repeat what was sent."""
    said, code = f"{to.name} answered {status}", str(status)
    if status >= 500 or status in SOME_OTHER_TIME:
        return TransientError(said, hint="Its operator knows why.", code=code, retry_after=asked)
    if status < 400:
        hint = f"Redirects are not followed: set {to.path} to where it lives."
    elif status in (400, 413, 415, 422):
        return PermanentError(
            said, hint="It does not take what is sent; is it the receiver it should be?", code=code
        )
    else:
        hint = REPLACE.format(path=to.path)
    return ConfigurationError(said, hint=hint, code=code, path=to.path)


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds that a `Retry-After` asks for, which is a number or a date; None if it is neither."""
    try:
        return max(0.0, float(text)) if text.strip().isdigit() else seconds_until(text, now)
    except (TypeError, ValueError):
        return None


def seconds_until(text: str, now: datetime) -> float:
    at = parsedate_to_datetime(text)
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


async def trusted(ca_file: Path | None, path: str) -> ssl.SSLContext:
    """What certificates are checked against. Reading them takes milliseconds, so it is done in a thread."""
    try:
        return await asyncio.to_thread(ssl.create_default_context, cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"cannot read certificates from {ca_file}: {error.strerror or 'no certificate in it'}",
            hint=f"Set {path} to a file of certificates in PEM form.",
            code="ca_file",
            path=path,
        ) from None


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for a URL (HTTPS_PROXY, NO_PROXY and alike); no `.netrc` is read."""
    if url.host is None or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return getproxies().get(url.scheme)
