"""Brings what the server tests need onto this machine: from Debian a JDK, Maven, MariaDB, Prometheus, Chromium and
buildah; search servers from Maven; from PyPI object stores, the Snowflake test server, and what asks, drives or
judges; and, as root, a base for our image with the dependencies that are locked.

`python -m tests.servers.install` does nothing, and says nothing, where everything is there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from tests.servers import image
from tests.servers.chromium import PLAYWRIGHT
from tests.servers.farm import releases
from tests.servers.fuzzer import FUZZER
from tests.servers.gcs import EMULATOR
from tests.servers.java import java_home
from tests.servers.judges import HADOLINT, MANIFESTS
from tests.servers.mariadb import program
from tests.servers.s3 import SEAWEEDFS
from tests.servers.search import WITH_SECURITY_MANAGER, cache, install
from tests.snowflake.cli import CLI
from tests.snowflake.environment import SERVER

JAVA = WITH_SECURITY_MANAGER
"""Runs all three servers of `make test`."""


def main() -> None:
    if wanted := list(_missing()):
        _from_debian(wanted)
    for release in releases():
        if not (cache() / str(release)).is_dir():
            print(f"fetching {release} into {cache()}", flush=True)
            install(release)
    for environment in (SEAWEEDFS, EMULATOR, SERVER, CLI, FUZZER, PLAYWRIGHT, HADOLINT, MANIFESTS):
        if not environment.is_made:
            print(f"installing {environment.packages[0]} into {environment.home}", flush=True)
            environment.python()
    if not image.is_installed():
        print("building the image's base and dependencies", flush=True)
        image.install()


def _missing() -> Iterator[str]:
    """Packages of Debian whose programs are not here; `jdk` is the newest that fits."""
    if java_home(JAVA) is None:
        yield "jdk"
    if not shutil.which("mvn") and any(not (cache() / str(release)).is_dir() for release in releases()):
        yield "maven"
    if program("mariadbd") is None:
        yield "mariadb-server"
    if program("prometheus") is None or program("promtool") is None:
        yield "prometheus"
    if program("chromium") is None:
        yield "chromium"
    yield from (name for name in ("buildah", "mmdebstrap") if not shutil.which(name))


def _from_debian(wanted: list[str]) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(
            f"the server tests need a JDK from {JAVA[0]} to {JAVA[-1]}, mvn, mariadbd, prometheus, promtool,"
            " chromium, buildah and mmdebstrap: please install them"
        )
    _apt("update")
    packages = [_newest_jdk() if name == "jdk" else name for name in wanted]
    print(f"installing {' '.join(packages)} from Debian", flush=True)
    _apt("install", "-y", "--no-install-recommends", *packages)


def _newest_jdk() -> str:
    """The newest fitting `openjdk-NN-jre-headless` that this Debian has."""
    pattern = r"^openjdk-[0-9]+-jre-headless$"
    found = subprocess.run(
        ["apt-cache", "search", "--names-only", pattern], capture_output=True, text=True, check=True
    )
    numbers = map(int, re.findall(r"^openjdk-(\d+)-jre-headless", found.stdout, re.MULTILINE))
    fitting = [number for number in numbers if number in JAVA]
    if not fitting:
        sys.exit(f"this Debian has no openjdk-NN-jre-headless from {JAVA[0]} to {JAVA[-1]}")
    return f"openjdk-{max(fitting)}-jre-headless"


def _apt(*words: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", *words]
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
