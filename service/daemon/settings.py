"""Settings of the daemon itself: `daemon.yaml` in the folder of the pipelines, all of them optional."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictBool

from state.settings import Group, Secret

FILE = "daemon.yaml"

Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Count = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)]


class Health(Group):
    """Where `/healthz`, `/readyz` and `/metrics` are served: no secrets, no tokens."""

    host: str = "0.0.0.0"
    """Address to listen on. Default 0.0.0.0: probes and Prometheus come from outside."""
    port: Port = 8080
    """Port; 0 takes a free one, which the log names. Default 8080."""


class Admin(Group):
    """Where `/v1` and the status page are served."""

    enabled: StrictBool = True
    """Whether they are served. Default true, on this machine alone."""
    host: str = "127.0.0.1"
    """Address to listen on. Default 127.0.0.1: only this machine."""
    port: Port = 8081
    """Port; 0 takes a free one, which the log names. Default 8081."""
    read_tokens: tuple[Secret, ...] = ()
    """Bearer tokens that may look, as references to files or variables. Default none."""
    operate_tokens: tuple[Secret, ...] = ()
    """Bearer tokens that may also act: backfill, retry, pause. Default none: nobody may."""
    most_windows: Count = 1000
    """Windows of one backfill at most. Default 1000: a slip of the keyboard is not carried out."""


class DaemonSettings(Group):
    """What one process does for all its pipelines."""

    config_version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    """Version of this file's form. Default 1."""
    max_runs: Count = 8
    """Runs walked at the same time, all pipelines together. Default 8: memory and connections follow it."""
    max_unfinished: Count = 1000
    """Runs that may be open in the drive table before no more windows are opened, all pipelines together. Default
    1000: an outage of days is caught up with piece by piece."""
    spool_quota_bytes: Annotated[int, Field(strict=True, ge=1024)] = 4 * 1024**3
    """Bytes of chunks on disk, all pipelines together. Default 4,294,967,296 (4 GiB)."""
    memory_limit_bytes: Annotated[int, Field(strict=True, ge=1024**2)] | None = None
    """Bytes of memory that the process may have: from 85 percent on, runs walk one at a time. Default: the limit
    of its container, if it has one."""
    drain_seconds: Seconds = 60.0
    """Seconds that runs have to come to their next checkpoint when the process is told to stop. Default 60; a
    container's grace period must be longer."""
    reload_seconds: Seconds = 30.0
    """Seconds between looks at the folder for changed configurations. Default 30."""
    loop_stalled_seconds: Seconds = 30.0
    """Seconds that the event loop may stand still before `/healthz` says no. Default 30."""
    health: Health = Health()
    """Probes and metrics."""
    admin: Admin = Admin()
    """Admin API and status page."""


def settings_file(folder: Path) -> Path:
    """Where the daemon's own settings are, if there are any."""
    return folder / FILE
