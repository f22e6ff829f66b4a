"""The URL of a source as a person types it → where it is, with references in the place of secrets.

What is wrong with a URL is said without a piece of it: any part may be a password.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from connectors.proposals import PROPOSERS, Access
from state.errors import ConfigurationError
from state.masking import remember
from state.settings import Secret

PASSWORD, API_KEY = "SLUICEWAY_SOURCE_PASSWORD", "SLUICEWAY_SOURCE_API_KEY"
"""The environment variables that the configurations refer to."""

OPTIONS = ("tls", "ca_file")


@contextmanager
def opened(url: str, ask: Callable[[str], str] | None) -> Iterator[Access]:
    """Where the source is, its password in the environment of this process as long as the context.

    The password is that of the URL, else of `PASSWORD`, else what `ask` is answered; None: nobody is there to be
    asked. Raises `ConfigurationError`.
    """
    parts, options = _parsed(url)
    user = None if parts.username is None else unquote(parts.username)
    typed = None if parts.password is None else unquote(parts.password)
    if user is not None and not typed and not os.environ.get(PASSWORD):
        typed = _asked(user, ask)
    with _set(PASSWORD, typed):
        yield Access(
            parts.scheme,
            str(parts.hostname),
            parts.port,
            unquote(parts.path).strip("/"),
            user,
            None if user is None else Secret(env=PASSWORD),
            Secret(env=API_KEY) if user is None and os.environ.get(API_KEY) else None,
            options,
        )


def has_password(url: str) -> bool:
    """True if the URL itself holds a password, which others on this machine may see."""
    return bool(_parsed(url)[0].password)


def _parsed(url: str) -> tuple[SplitResult, Mapping[str, str]]:
    try:
        parts = urlsplit(url.strip())
        known = parts.scheme in PROPOSERS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known or "@" in parts.path + parts.query + parts.fragment:
        raise _refused(
            f"no URL of a source, which begins with {' or '.join(f'{scheme}://' for scheme in PROPOSERS)}",
            "Write it like mysql://reader@db.company.com/shop, :/?#@% in a password as % and two hex digits.",
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise _refused(f"{len(unknown)} unknown options behind the ?", f"Known there: {', '.join(OPTIONS)}.")
    return parts, options


def _asked(user: str, ask: Callable[[str], str] | None) -> str:
    if ask is None:
        raise _refused(f"no password for {user}", f"Set the environment variable {PASSWORD}.")
    return ask(f"Password of {user}")


def _refused(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(what, hint=hint, code="source_url", path="--from")


@contextmanager
def _set(name: str, value: str | None) -> Iterator[None]:
    """An environment variable of this process, for what refers to it; None leaves it as it is."""
    if value is None:
        yield
        return
    remember(value)
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
