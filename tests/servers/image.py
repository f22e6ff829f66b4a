"""Images without Docker: buildah of Debian builds the Dockerfile, and the kernel's own means run what came of it.

The official Python image cannot be fetched by an ordinary package client, so a base like it is made: the same
Debian, by mmdebstrap, with Debian's Python. The layers of locked dependencies, the only ones that need a network,
are kept, so that a build after `install()` makes our wheel alone. All of it needs root, and lies in the cache.

A container here has what Kubernetes' restricted profile leaves it: a user without privileges, no capability, a
root that cannot be written, processes of its own. Limits of memory and of the network are not proven by it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.environments import cache
from tests.servers.guard import birth, started

ROOT = Path(__file__).parents[2]
SUITE = "trixie"
"""The Debian that the official images stand on."""
INCLUDED = "ca-certificates,netbase,python3,python3-pip,tzdata"
BASE = f"localhost/sluiceway-base:{SUITE}"
LAYERS = ("Dockerfile", ".dockerignore", "deploy/requirements.txt", "deploy/requirements-build.txt")
"""What the layers that need a network are made of."""
DEPENDENCIES = "localhost/sluiceway-dependencies:test"
IMAGE = "localhost/sluiceway:test"
CERTIFICATES = "/etc/ssl/certs"
"""Those of this machine are lent to the build, for registries that only they vouch for."""
ISOLATED = """
set -e
root=$1 user=$2 work=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
  mkdir -p "$root$2"; mount --bind "$1" "$root$2"; mount -o "remount,bind,$3" "$root$2"; shift 3
done; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o size=64m,mode=1777 tmp "$root/tmp"
mount -o remount,bind,ro "$root"
exec chroot "$root" /usr/bin/setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs \\
  --bounding-set=-all --inh-caps=-all --pdeathsig KILL /usr/bin/env --ignore-environment --chdir="$work" "$@"
"""
"""What a container is started by: arguments are the root, the user, the working directory, volumes as three words
(from, to, rw or ro), `--`, and the environment with the command."""


@dataclass(frozen=True)
class Volume:
    """A folder of this machine in a container."""

    folder: Path
    at: str
    writable: bool = False


@dataclass(frozen=True)
class Image:
    """What a build came to: its configuration, and its files while it is mounted."""

    config: Mapping[str, Any]
    root: Path

    @property
    def command(self) -> list[str]:
        """What runs where nobody says otherwise."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @property
    def user(self) -> int:
        """The number that it runs as."""
        return int(self.config["User"].partition(":")[0])

    def start(self, command: Sequence[str], volumes: Sequence[Volume] = (), **options: Any) -> Container:
        """A container that runs `command`, in the environment of the image and no other."""
        places = [word for one in volumes for word in (str(one.folder), one.at, "rw" if one.writable else "ro")]
        inside = [str(self.root), str(self.user), self.config["WorkingDir"] or "/", *places, "--"]
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ISOLATED, "sh"]
        return Container(
            started([*isolated, *inside, *self.config["Env"], *command], stdin=subprocess.DEVNULL, **options)
        )

    def run(self, *command: str, volumes: Sequence[Volume] = ()) -> subprocess.CompletedProcess[str]:
        """What a container that ends by itself said."""
        container = self.start(command, volumes, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = container.process.communicate()
        return subprocess.CompletedProcess(command, container.process.returncode, out, err)


@dataclass(frozen=True)
class Container:
    """A running one; `process` ends with the exit code of the first process in it."""

    process: subprocess.Popen[Any]

    @property
    def first(self) -> int:
        """The number, out here, of the process that is number 1 in there."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def stop(self) -> None:
        """What a runtime does first: SIGTERM to the first process."""
        os.kill(self.first, signal.SIGTERM)

    def kill(self) -> None:
        """End it as it stands, and all that runs in it."""
        if self.process.poll() is None:
            self.process.kill()  # which its first process hears of: see ISOLATED
            self.process.wait()


@contextmanager
def built() -> Iterator[Image]:
    """The image of the work tree as it is now, mounted."""
    if not is_installed():
        install()
    name = f"sluiceway-{os.getpid()}-{birth(os.getpid())}"
    with _alone():
        _sweep()
        _build("--tag", IMAGE)
        _buildah("from", "--pull-never", "--name", name, IMAGE)
        config = json.loads(_buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    try:
        yield Image(config, Path(_buildah("mount", name).strip()))
    finally:
        with _alone():
            _buildah("rm", name)


def is_installed() -> bool:
    """True if a build needs no network: the base and the locked dependencies of now are there."""
    return _ready().is_file() and _ready().read_text() == _recipe()


def install() -> None:
    """Make the base, and build once with a network."""
    with _alone():
        if BASE not in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            _make_base()
        _build("--target", "dependencies", "--tag", DEPENDENCIES)
        _build("--tag", IMAGE)
        _ready().write_text(_recipe())


def _ready() -> Path:
    return _home() / "ready"


def _recipe() -> str:
    words = [(ROOT / name).read_bytes() for name in LAYERS]
    return hashlib.sha256(b"\n".join([SUITE.encode(), INCLUDED.encode(), *words])).hexdigest()


def _make_base() -> None:
    rootfs = _home() / "rootfs.tar"
    quick = ["--dpkgopt=force-unsafe-io", "--variant=minbase", f"--include={INCLUDED}"]
    subprocess.run(["mmdebstrap", "--quiet", *quick, SUITE, rootfs], check=True, stdin=subprocess.DEVNULL)
    container = _buildah("from", "scratch").strip()
    _buildah("add", "--quiet", container, str(rootfs), "/")
    _buildah("config", "--env", "LANG=C.UTF-8", "--cmd", "python3", container)
    _buildah("commit", "--quiet", "--rm", container, BASE)
    rootfs.unlink()


def _build(*words: str) -> None:
    """Layers that are still right are kept; those that no image needs any more go."""
    here = ["--isolation", "chroot", "--network", "host", "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    _buildah(
        "bud",
        "--layers",
        "--pull-never",
        "--format",
        "docker",
        *here,
        "--build-arg",
        f"BASE={BASE}",
        *words,
        str(ROOT),
    )
    _buildah("rmi", "--prune")


def _sweep() -> None:
    """Remove the containers of sessions that were killed."""
    for one in json.loads(_buildah("containers", "--json") or "[]") or []:
        _, pid, began = one["containername"].split("-")
        if birth(int(pid)) != began:
            _buildah("rm", one["id"])


def _buildah(*words: str) -> str:
    """What buildah says on stdout. Raises RuntimeError with the end of the rest if it fails."""
    store = ["--root", str(_home() / "storage"), "--runroot", str(_home() / "run"), "--storage-driver", "overlay"]
    done = subprocess.run(
        ["buildah", *store, *words], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"buildah {' '.join(words)}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def _home() -> Path:
    """Where images are kept."""
    return cache() / "image"


@contextmanager
def _alone() -> Iterator[None]:
    _home().mkdir(parents=True, exist_ok=True)
    with (_home() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
