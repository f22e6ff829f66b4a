"""A server that speaks Google Cloud Storage's protocol: `gcp-storage-emulator`, in a process of its own.

It is no Google: it looks at no credentials. What it shows is that Google's own client, as Arrow brings it, is
driven rightly.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import closing
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.servers.environments import Environment
from tests.servers.guard import started
from tests.servers.mariadb import free_port

EMULATOR = Environment("gcs", ("gcp-storage-emulator==2026.7.19",))
START_SECONDS = 60
STOP_SECONDS = 30


class GcsServer:
    """A server on 127.0.0.1 that keeps its buckets in memory. `key_file`: a service account of its own making."""

    def __init__(self) -> None:
        self._work = Path(tempfile.mkdtemp(prefix="gcs-"))
        self._names = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.key_file = self._work / "service-account.json"
        self.key_file.write_text(json.dumps(service_account()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> GcsServer:
        """Start it and wait until it listens; raises RuntimeError with its log if it does not."""
        command = [EMULATOR.python(), "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--quiet"]
        with (self._work / "log").open("ab") as log:
            self._process = started(
                [*command, "--port", str(self.port), "--in-memory"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        began = time.monotonic()
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() - began > START_SECONDS:
                words = (self._work / "log").read_text(errors="replace")[-3000:]
                self.remove()
                raise RuntimeError(f"the GCS server did not start:\n{words}")
            time.sleep(0.05)
        return self

    def remove(self) -> None:
        """End it and remove what it wrote."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        shutil.rmtree(self._work, ignore_errors=True)

    def bucket(self) -> str:
        """A fresh bucket."""
        name = f"bucket-{next(self._names)}"
        self._ask("/storage/v1/b?project=p", json.dumps({"name": name}).encode())
        return name

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Every object of a bucket, by its name."""
        found = json.loads(self._ask(f"/storage/v1/b/{bucket}/o")).get("items", [])
        return {item["name"]: self._ask(f"/{bucket}/{item['name']}") for item in found}

    def _ask(self, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return bytes(answer.read())

    def _listens(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def service_account() -> dict[str, str]:
    """What Google gives an operator, with a key made here."""
    key = rsa.generate_private_key(65537, 2048)
    words = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": key.private_bytes(*words).decode(),
        "client_email": "archive@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://127.0.0.1:9/token",
    }
