"""The console's own routes: ``/`` and the files that it is made of. All else that it does goes through the public REST API.

The files are read once, when the application is made, and are open to everybody: the login page is one of them. They are
revalidated at each load (``ETag``), so that a new version is seen at once, and sent compressed to those who take it.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from flask import Blueprint, Response, request

from entrance.web.errors import NoRoute

INDEX = "index.html"
CSP = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file as it is sent; ``packed`` is its gzip form."""

    body: bytes
    packed: bytes
    etag: str
    content_type: str


def load_assets(folder: Traversable | None = None) -> Mapping[str, Asset]:
    """Return the console's files by their path below ``static``; kinds that a browser has no use for are left out."""
    found: dict[str, Asset] = {}

    def walk(at: Traversable, prefix: str) -> None:
        for entry in sorted(at.iterdir(), key=lambda e: e.name):
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            elif kind := _TYPES.get("." + entry.name.rpartition(".")[2]):
                body = entry.read_bytes()
                found[prefix + entry.name] = Asset(
                    body=body,
                    packed=gzip.compress(body, 6, mtime=0),
                    etag=hashlib.sha256(body).hexdigest()[:32],
                    content_type=kind,
                )

    walk(folder or files("entrance.console").joinpath("static"), "")
    return found


def make_blueprint() -> Blueprint:
    """Return the console's routes."""
    assets = load_assets()
    blueprint = Blueprint("console", __name__)

    @blueprint.get("/")
    def index() -> Response:
        """The page that all of the console lives in."""
        return _send(assets[INDEX])

    @blueprint.get("/console/<path:file>")
    def asset(file: str) -> Response:
        """A script, style or picture of the console."""
        found = assets.get(file)
        if found is None:
            raise NoRoute
        return _send(found)

    return blueprint


def _send(asset: Asset) -> Response:
    pack = request.accept_encodings["gzip"] > 0
    response = Response(asset.packed if pack else asset.body, content_type=asset.content_type)
    if pack:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = CSP
    response.set_etag(f"{asset.etag}-z" if pack else asset.etag)
    response.make_conditional(request)
    return response
