"""Whom the connections trust: read once, and again when the certificates are others.

To read a store of certificates takes 20 ms of CPU time, more than all requests of a look; a daemon with many
pipelines makes some hundred connectors a minute.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TypeAlias

from state.errors import ConfigurationError

_Seen: TypeAlias = tuple[tuple[int, int, int] | None, ...]

_kept: dict[Path | None, tuple[_Seen, ssl.SSLContext]] = {}
"""The last context of each file, and what told it from others; contexts may be shared by threads."""


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """A context that verifies by the certificates in `ca_file`, or by the system's. Blocks.

    Verification is always on; there is no setting to turn it off. Raises `ConfigurationError`.
    """
    system = ssl.get_default_verify_paths()
    seen = tuple(_of(place) for place in ([ca_file] if ca_file else [system.cafile, system.capath]) if place)
    kept = _kept.get(ca_file)
    if kept is not None and kept[0] == seen:
        return kept[1]
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"cannot read certificates from {ca_file}: {error}",
            hint="It must be a file of PEM certificates that this process may read.",
            code="ca_file",
            path="source_system.ca_file",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _kept[ca_file] = seen, context
    return context


def _of(place: str | Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None if it is not there."""
    try:
        found = Path(place).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
