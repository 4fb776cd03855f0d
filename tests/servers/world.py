"""A service beside a real S3 server, for tests of what goes in and out of stores."""

from __future__ import annotations

from pathlib import Path

from factories import Service

from servers.proxy import Proxy
from servers.seaweedfs import SeaweedFS
from servers.storages import add_storage


class StoreWorld:
    """A service, an S3 server behind a proxy, a bucket and two empty folders, as storages of the administrator.

    The storages are ``bucket``, ``source`` and one called as ``target`` says.
    """

    def __init__(self, service: Service, server: SeaweedFS, root: str, folder: Path, *, target: str) -> None:
        self.service = service
        self.proxy = Proxy(server.endpoint)
        self.bucket = server.storage(root)
        self.source, self.target = folder / "source", folder / target
        self.source.mkdir()
        self.target.mkdir()
        add_storage(service.data, "admin", "bucket", server.settings(root, endpoint=self.proxy.url))
        add_storage(service.data, "admin", "source", {"type": "local", "path": str(self.source)})
        add_storage(service.data, "admin", target, {"type": "local", "path": str(self.target)})

    def uploads(self) -> list[str]:
        """Return the paths of uploads that are under way."""
        return [upload.path for upload in self.bucket.uploads("")]
