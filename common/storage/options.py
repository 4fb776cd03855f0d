"""Options of an S3-compatible storage, as they are stored (text to text, rclone's names) and as a client wants them.

Of rclone's s3 options these mean something here; others are kept and do nothing:

    access_key_id, secret_access_key, session_token   without a key id the store is used unsigned, as public
    region              "us-east-1" when empty (any name does for most stores of one's own)
    endpoint            "" is Amazon's own for the region
    force_path_style    "true" (default): the bucket is in the path; "false": it is in the host name (virtual-host style)
    chunk_size          bytes of one part of a large upload (default and least 8 MiB)

and of ``ClientConfig`` (Singularity's names): connectTimeout and timeout in ns, insecureSkipVerify, caCert (PEM texts),
userAgent, headers, lowlevelRetries. ``env_auth`` never does anything: keys come from the storage alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from common.content.sizes import parse_size
from common.errors import BadInput, ContentError
from common.storage.endpoints import Endpoint, check_endpoint, parse_endpoint

SECRET_OPTIONS = frozenset({"access_key_id", "secret_access_key", "session_token", "sse_customer_key_base64"})
"""Options whose values are kept encrypted and shown masked."""

DEFAULT_REGION = "us-east-1"
PART_BYTES = 8 << 20
_MOST_RETRIES = 10


@dataclass(frozen=True, kw_only=True)
class ObjectOptions:
    """What clients of one bucket need. ``repr`` shows no key."""

    bucket: str
    prefix: str  # "" or ends with a slash
    endpoint: Endpoint
    region: str
    virtual_host: bool
    part_bytes: int
    connect_timeout: timedelta
    timeout: timedelta
    retries: int
    verify_tls: bool
    ca: str  # PEM
    user_agent: str
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def signed(self) -> bool:
        return bool(self.access_key)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must appear nowhere."""
        return tuple(x for x in (self.access_key, self.secret_key, self.session_token, *self.headers.values()) if x)

    @property
    def host(self) -> str:
        """The host that requests go to."""
        return f"{self.bucket}.{self.endpoint.host}" if self.virtual_host else self.endpoint.host


def options_of(settings: Mapping[str, Any], *, look_up: bool = False) -> ObjectOptions:
    """Return the options in a storage's settings (see ``common.storage.open_storage``; ``allowed_endpoints``: those that the
    administrator has listed). ``look_up`` also looks the host up, and refuses inner addresses.

    Raises BadInput, in one sentence that holds no secret.
    """
    config: Mapping[str, str] = settings.get("config") or {}
    client: Mapping[str, Any] = settings.get("client_config") or {}
    bucket, _, prefix = str(settings.get("path", "")).strip("/").partition("/")
    if not 3 <= len(bucket) <= 255 or not all(c.isascii() and (c.isalnum() or c in "-._") for c in bucket):
        raise BadInput("the path must begin with a bucket's name: bucket/prefix")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise BadInput("the path behind the bucket must not hold empty parts or dots")
    if config.get("access_key_id") and not config.get("secret_access_key"):
        raise BadInput("secret_access_key is missing")
    if config.get("secret_access_key") and not config.get("access_key_id"):
        raise BadInput("access_key_id is missing")
    for unsupported in ("clientCert", "clientKey"):
        if client.get(unsupported):
            raise BadInput(f"{unsupported} is not supported")
    region = config.get("region") or DEFAULT_REGION
    if not all(c.isascii() and (c.isalnum() or c in "-_") for c in region):
        raise BadInput("the region is not valid")
    virtual_host = config.get("force_path_style", "true").strip().lower() == "false"
    endpoint = config.get("endpoint") or f"https://s3.{region}.amazonaws.com"
    allowed: Collection[str] = settings.get("allowed_endpoints") or ()
    return ObjectOptions(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=(check_endpoint if look_up else parse_endpoint)(endpoint, allowed),
        region=region,
        virtual_host=virtual_host,
        part_bytes=max(PART_BYTES, _size(config.get("chunk_size") or PART_BYTES)),
        connect_timeout=_time(client, "connectTimeout", 10.0),
        timeout=_time(client, "timeout", 300.0),
        retries=_count(client, "lowlevelRetries", 4),
        verify_tls=client.get("insecureSkipVerify") is not True,
        ca=_certificates(client.get("caCert")),
        user_agent=str(client.get("userAgent") or "entrance"),
        access_key=config.get("access_key_id") or "",
        secret_key=config.get("secret_access_key") or "",
        session_token=config.get("session_token") or "",
        headers={str(k): str(v) for k, v in (client.get("headers") or {}).items()},
    )


def _size(text: str | int) -> int:
    try:
        return parse_size(str(text))
    except ContentError as error:
        raise BadInput(f"chunk_size: {error}") from error


def _time(client: Mapping[str, Any], key: str, default_seconds: float) -> timedelta:
    value = client.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return timedelta(seconds=default_seconds)
    return timedelta(microseconds=max(1000, value // 1000))


def _count(client: Mapping[str, Any], key: str, default: int) -> int:
    value = client.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return default
    return min(value, _MOST_RETRIES)


def _certificates(texts: Any) -> str:
    found = [texts] if isinstance(texts, str) else list(texts or ())
    if not all(isinstance(text, str) and "-----BEGIN CERTIFICATE-----" in text for text in found):
        raise BadInput("caCert must hold certificates as PEM texts")
    return "\n".join(text.strip() for text in found)
