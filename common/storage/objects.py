"""A bucket of an S3-compatible store, or what lies below a prefix in it, as a storage.

Two clients, each for what it does best: obstore moves bytes (without the GIL, taking up streams that were cut), botocore
lists page by page and does multipart uploads whose parts outlive the process. Both get every field from the storage's
settings; ``AWS_*`` variables and files of the user's home mean nothing here. Requests to endpoints that the administrator
has not listed go through a ``Gate``. Nothing is opened before the first use: native runtimes do not survive a fork.

A key that ends with a slash marks a folder and is none of the objects; a key with empty parts, dots or control characters
cannot be named by a path and is left out of listings. An object under the name of a folder stands beside it.

Texts that come from a store are scrubbed of keys and signatures before anyone sees them.
"""

from __future__ import annotations

import heapq
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from common.content.scratch import unnamed_file
from common.errors import BadInput, StorageForbidden, StorageNotFound, StorageUnavailable
from common.storage.base import Entry, Part, Reader, Report, Upload
from common.storage.endpoints import Gate, public_addresses
from common.storage.options import ObjectOptions, options_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from obstore.store import S3Store

SORT_ENTRIES = 50_000
"""Entries of one folder that are sorted in memory; more are sorted in runs on disk."""

MOST_PARTS = 10_000
"""Parts that one multipart upload may have (Amazon S3, "Multipart upload limits")."""

_STREAM_BYTES = 1 << 20
_CAR_TYPE, _BYTES_TYPE = "application/vnd.ipfs.car", "application/octet-stream"
_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_RETRY_SECONDS = timedelta(seconds=60)


class ObjectStorage:
    """See the module. May be used by several threads."""

    type = "s3"

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        """``settings`` as of ``common.storage.open_storage``. Raises BadInput. Touches nothing."""
        self.name = name
        self.options: ObjectOptions = options_of(settings)
        self._scrub = Scrubber(self.options.secrets)
        self._opening = threading.Lock()

    # ---- the contract

    def check(self) -> None:
        """Find out whether the bucket answers and may be listed. Raises the contract's errors."""
        import obstore

        with self._named(""):
            next(iter(obstore.list(self._store, self.options.prefix or None, chunk_size=1)), None)

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """See ``Storage``: all objects below the folder ``prefix``, and the object of that very path."""
        prefix = prefix.strip("/")
        start = None if after is None else after.encode()
        found = False
        if prefix:
            with suppress(StorageNotFound):
                entry = self._head(prefix)
                found = True
                if start is None or prefix.encode() > start:
                    yield entry
        for entry in self._below(prefix, start):
            found = True
            yield entry
        if prefix and not found and start is None:
            raise StorageNotFound(f"{prefix} is not there")

    def children(self, path: str, report: Report, spill_folder: Path | None = None) -> Iterator[Entry]:
        """See ``Storage``. An object and a folder of the same name are both given, the folder last."""
        found = False
        for record in _sorted(self._level(path, report), lambda r: (r[0].encode(), r[3]), spill_folder):
            found = True
            yield self._entry(path, record)
        if path and not found and not self._is_folder(path):
            raise StorageNotFound(f"{path} is not there")

    def stat(self, path: str) -> Entry:
        """See ``Storage``; what is only the beginning of keys is a folder."""
        if path:
            try:
                return self._head(path)
            except StorageNotFound:
                if not self._is_folder(path):
                    raise
        return Entry(path=path, size=-1, modified_ns=0, is_dir=True)

    def reader(self, path: str) -> Reader:
        """See ``Storage``. What was opened is read: an object that is replaced meanwhile is StorageUnavailable."""
        meta = self._meta(path)
        return _ObjectReader(self, path, _entry_of(path, meta), meta["e_tag"])

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See ``Storage``; as ``reader``, and streamed."""
        meta = self._meta(path)
        left = max(0, meta["size"] - offset)
        length = left if length is None else min(length, left)
        return _ObjectStream(self, path, offset, length, meta["e_tag"])  # type: ignore[return-value]

    def put(self, path: str, data: BinaryIO | Iterable[bytes], size: int | None = None) -> None:
        """See ``Storage``. More than one part becomes a multipart upload, aborted when ``data`` fails."""
        part_bytes = self.part_bytes(size or 0)
        blocks = _parts_of(data, part_bytes)
        first = next(blocks, b"")
        second = next(blocks, None)
        if second is None:
            self.put_bytes(path, first)
            return
        upload = self.begin(path)
        try:
            parts = [self.send_part(path, upload, 1, first), self.send_part(path, upload, 2, second)]
            for number, block in enumerate(blocks, 3):
                parts.append(self.send_part(path, upload, number, block))
            self.complete(path, upload, parts)
        except BaseException:
            with suppress(StorageNotFound, StorageForbidden, StorageUnavailable):
                self.abort(path, upload)
            raise

    def delete(self, path: str) -> None:
        """See ``Storage``; raises StorageNotFound when there is no such object."""
        import obstore

        self._head(path)
        with self._named(path):
            obstore.delete(self._store, self._key(path))

    # ---- more than the contract: whole objects with their checksums

    def put_bytes(self, path: str, data: bytes | bytearray) -> str:
        """Store an object in one request; return its entity tag without quotes (of most stores its MD5)."""
        import obstore

        with self._named(path):
            put = obstore.put(self._store, self._key(path), data, use_multipart=False, attributes=_attributes(path))
        return (put["e_tag"] or "").strip('"')

    def tag(self, path: str) -> str:
        """Return an object's entity tag without quotes: MD5, or ``MD5-parts`` of a multipart upload, or the store's own."""
        return (self._meta(path)["e_tag"] or "").strip('"')

    def part_size_of(self, path: str) -> int:
        """Return the size in bytes of an object's first part; 0 when the store does not tell."""
        with self._named(path):
            head = self._client.head_object(Bucket=self.options.bucket, Key=self._key(path), PartNumber=1)
        return int(head["ContentLength"]) if head.get("PartsCount") else 0

    # ---- more than the contract: uploads that outlive the process

    def part_bytes(self, size: int) -> int:
        """Return the bytes of one part for an object of ``size``: always the same, and at most ``MOST_PARTS`` of them."""
        mib = 1 << 20
        return max(self.options.part_bytes, -(-size // (MOST_PARTS * mib)) * mib)

    def begin(self, path: str) -> str:
        """Begin a multipart upload; return its id."""
        with self._named(path):
            begun = self._client.create_multipart_upload(
                Bucket=self.options.bucket, Key=self._key(path), ContentType=_attributes(path)["Content-Type"]
            )
        return begun["UploadId"]

    def send_part(self, path: str, upload: str, number: int, data: bytes | bytearray | IO[bytes]) -> Part:
        """Send part ``number`` (from 1). Raises StorageNotFound when the upload is gone."""
        with self._named(path):
            answer = self._client.upload_part(
                Bucket=self.options.bucket,
                Key=self._key(path),
                UploadId=upload,
                PartNumber=number,
                Body=data,  # type: ignore[arg-type] # a bytearray too
            )
        size = len(data) if isinstance(data, bytes | bytearray) else -1
        return Part(number=number, size=size, tag=answer["ETag"].strip('"'))

    def parts(self, path: str, upload: str) -> Sequence[Part]:
        """Return the parts that the store has of an upload, by number. Raises StorageNotFound when the upload is gone."""
        found: list[Part] = []
        with self._named(path):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self.options.bucket, Key=self._key(path), UploadId=upload
            )
            for page in pages:
                found += [
                    Part(number=part["PartNumber"], size=part["Size"], tag=part["ETag"].strip('"'))
                    for part in page.get("Parts", [])
                ]
        return found

    def complete(self, path: str, upload: str, parts: Sequence[Part]) -> str:
        """Make an object of the parts; return its entity tag. Raises StorageNotFound when the upload is gone."""
        with self._named(path):
            answer = self._client.complete_multipart_upload(
                Bucket=self.options.bucket,
                Key=self._key(path),
                UploadId=upload,
                MultipartUpload={"Parts": [{"PartNumber": part.number, "ETag": f'"{part.tag}"'} for part in parts]},
            )
        return answer.get("ETag", "").strip('"')

    def abort(self, path: str, upload: str) -> None:
        """End an upload and free its parts; one that is gone is no error."""
        with suppress(StorageNotFound), self._named(path):
            self._client.abort_multipart_upload(Bucket=self.options.bucket, Key=self._key(path), UploadId=upload)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Yield the unfinished uploads of all paths that begin with ``prefix``."""
        with self._named(prefix):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.options.bucket, Prefix=self.options.prefix + prefix
            )
            for page in pages:
                for found in page.get("Uploads", []):
                    yield Upload(
                        path=found["Key"].removeprefix(self.options.prefix),
                        id=found["UploadId"],
                        begun_ms=int(found["Initiated"].timestamp() * 1000),
                    )

    # ---- clients

    @cached_property
    def _gate(self) -> Gate | None:
        options = self.options
        if options.endpoint.listed:
            return None
        public_addresses(options.host, options.endpoint.port)  # a refusal in words, before the gate's
        return Gate(options.host, options.endpoint.port)

    @cached_property
    def _store(self) -> S3Store:
        from obstore.store import S3Store

        options = self.options
        endpoint = options.endpoint
        with self._opening:
            _forget_environment()
            client: dict[str, Any] = {
                "allow_http": endpoint.scheme == "http",
                "allow_invalid_certificates": not options.verify_tls,
                "connect_timeout": options.connect_timeout,
                "timeout": options.timeout,
                "user_agent": options.user_agent,
                "default_headers": dict(options.headers),
                "http1_only": True,
            }
            if options.ca:
                client["root_certificate"] = options.ca
            if self._gate is not None:
                client["proxy_url"] = self._gate.url
            keys: dict[str, Any] = {"skip_signature": True}
            if options.signed:
                keys = {
                    "access_key_id": options.access_key,
                    "secret_access_key": options.secret_key,
                    "skip_signature": False,
                }
                if options.session_token:
                    keys["session_token"] = options.session_token
            at_bucket = f"{options.bucket}." if options.virtual_host else ""  # obstore does not add it itself
            return S3Store(
                options.bucket,
                endpoint=f"{endpoint.scheme}://{at_bucket}{endpoint.authority}",
                region=options.region,
                virtual_hosted_style_request=options.virtual_host,
                unsigned_payload=endpoint.scheme == "https",
                client_options=client,  # type: ignore[arg-type]
                retry_config={"max_retries": options.retries, "retry_timeout": _RETRY_SECONDS},
                **keys,
            )

    @cached_property
    def _client(self) -> S3Client:
        import botocore.config
        import botocore.session
        from botocore import UNSIGNED

        options = self.options
        with self._opening:
            _forget_environment()
            session = botocore.session.Session()
            for variable in ("config_file", "credentials_file"):
                session.set_config_variable(variable, os.devnull)
            config = botocore.config.Config(
                region_name=options.region,
                connect_timeout=options.connect_timeout.total_seconds(),
                read_timeout=options.timeout.total_seconds(),
                retries={"total_max_attempts": options.retries + 1, "mode": "standard"},
                proxies={"https": self._gate.url} if self._gate is not None else {},
                user_agent=options.user_agent,
                max_pool_connections=32,
                request_checksum_calculation="when_required",  # older stores refuse the newer headers
                response_checksum_validation="when_required",
                s3={"addressing_style": "virtual" if options.virtual_host else "path"},
                **({} if options.signed else {"signature_version": UNSIGNED}),
            )
            client: S3Client = session.create_client(  # type: ignore[assignment]
                "s3",
                region_name=options.region,
                endpoint_url=options.endpoint.url,
                aws_access_key_id=options.access_key or None,
                aws_secret_access_key=options.secret_key or None,
                aws_session_token=options.session_token or None,
                verify=self._ca_file() if options.verify_tls else False,
                config=config,
            )
            for name, value in options.headers.items():
                client.meta.events.register(
                    "before-sign.s3.*", lambda request, name=name, value=value, **_: request.headers.add_header(name, value)
                )
            return client

    def _ca_file(self) -> str | None:
        """Return the path of a file with the storage's own certificate authorities beside the usual ones."""
        if not self.options.ca:
            return None
        import tempfile

        from botocore.httpsession import where

        with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
            file.write(f"{Path(where()).read_text()}\n{self.options.ca}\n")
        return file.name

    # ---- inside

    def _key(self, path: str) -> str:
        """Return the key of a path. Raises StorageForbidden for one that cannot be a key."""
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or any(ord(c) < 32 or c == "\x7f" for c in path):
            raise StorageForbidden(f"{path!r} is no path inside a storage")
        key = self.options.prefix + path
        try:
            length = len(key.encode())
        except UnicodeEncodeError:
            raise StorageForbidden("a name that is not UTF-8 cannot be kept in an object store") from None
        if length > 1024:
            raise StorageForbidden(f"{path} is longer than the 1,024 bytes that a key may have")
        return key

    def _meta(self, path: str) -> Any:
        import obstore

        with self._named(path):
            return obstore.head(self._store, self._key(path))

    def _head(self, path: str) -> Entry:
        return _entry_of(path, self._meta(path))

    def _is_folder(self, path: str) -> bool:
        with self._named(path):
            page = self._client.list_objects_v2(Bucket=self.options.bucket, Prefix=f"{self._key(path)}/", MaxKeys=1)
        return bool(page.get("Contents"))

    def _level(self, path: str, report: Report) -> Iterator[_Record]:
        """Yield what lies directly in a folder, in the store's order."""
        folder = f"{self._key(path)}/" if path else self.options.prefix
        with self._named(path):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.options.bucket, Prefix=folder, Delimiter="/"
            )
            for page in pages:
                for found in page.get("CommonPrefixes", []):
                    name = found["Prefix"][len(folder) : -1]
                    if _is_name(name):
                        yield name, -1, 0, True, ""
                    else:
                        report(f"{path}/{name}".strip("/"), "its key cannot be written as a path")
                for item in page.get("Contents", []):
                    name = item["Key"][len(folder) :]
                    if not name:
                        continue  # the folder's own marker
                    if _is_name(name):
                        yield name, item["Size"], _nanoseconds(item["LastModified"]), False, _md5_of(item.get("ETag"))
                    else:
                        report(f"{path}/{name}".strip("/"), "its key cannot be written as a path")

    def _below(self, path: str, after: bytes | None) -> Iterator[Entry]:
        """Yield the objects below a folder by path, as bytes; those after ``after`` only."""
        level = self._level(path, lambda path, why: None)
        for record in _sorted(level, lambda r: (r[0] + ("/" if r[3] else "")).encode(), None):
            entry = self._entry(path, record)
            key = entry.path.encode()
            if not entry.is_dir:
                if after is None or key > after:
                    yield entry
            elif after is None or key + b"0" > after:  # "0" comes next after "/"
                yield from self._below(entry.path, after)

    def _entry(self, folder: str, record: _Record) -> Entry:
        name, size, modified_ns, is_dir, md5 = record
        path = f"{folder}/{name}" if folder else name
        return Entry(path=path, size=size, modified_ns=modified_ns, hash=md5, is_dir=is_dir)

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Turn what the clients raise into the three errors of the contract."""
        try:
            yield
        except (StorageNotFound, StorageForbidden, StorageUnavailable, BadInput):
            raise
        except Exception as error:
            found = _three(error, path or f"bucket {self.options.bucket}", self._scrub)
            if found is None:
                raise
            raise found from None  # the cause's own text may hold a key


_Record = tuple[str, int, int, bool, str]
"""Name, size, modification time in ns, whether it is a folder, MD5."""


class _ObjectReader:
    """See ``Reader``."""

    def __init__(self, storage: ObjectStorage, path: str, entry: Entry, tag: str | None) -> None:
        self._storage, self._path, self._entry, self._tag = storage, path, entry, tag

    def stat(self) -> Entry:
        return self._storage._head(self._path)

    def read_into(self, slots: Sequence[memoryview], offset: int) -> int:
        import obstore

        wanted = min(sum(map(len, slots)), self._entry.size - offset)
        if wanted <= 0:
            return 0
        with self._storage._named(self._path):
            options: Any = {"range": (offset, offset + wanted), "if_match": self._tag}
            found = obstore.get(self._storage._store, self._storage._key(self._path), options=options)
            data = memoryview(found.bytes())
        at = 0
        for slot in slots:
            part = data[at : at + len(slot)]
            slot[: len(part)] = part
            at += len(part)
        return min(at, len(data))

    def close(self) -> None:
        return None


class _ObjectStream:
    """A part of an object as a stream, as far as readers use one."""

    def __init__(self, storage: ObjectStorage, path: str, offset: int, length: int, tag: str | None) -> None:
        self._storage, self._path, self._offset, self._left, self._tag = storage, path, offset, length, tag
        self._blocks: Iterator[Any] | None = None
        self._held = memoryview(b"")
        self.closed = False

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left when it is negative or None."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_STREAM_BYTES), b""))
        if not self._held and self._left and size:
            self._held = self._next()
        data = bytes(self._held[:size])
        self._held = self._held[size:]
        return data

    def _next(self) -> memoryview:
        import obstore

        with self._storage._named(self._path):
            if self._blocks is None:
                options: Any = {"range": (self._offset, self._offset + self._left), "if_match": self._tag}
                found = obstore.get(self._storage._store, self._storage._key(self._path), options=options)
                self._blocks = iter(found.stream(min_chunk_size=_STREAM_BYTES))
            block = memoryview(next(self._blocks, b""))
        if not block:
            raise StorageUnavailable(f"{self._path}: the store ended the answer too early")
        self._left -= len(block)
        return block

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
        self._blocks = None
        self._held = memoryview(b"")

    def __enter__(self) -> _ObjectStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- errors -------------------------------------------------------------------------------------------------------

_HIDDEN = "[...]"
_SIGNED = re.compile(
    r"(?i)((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId|Authorization)"
    r"\s*[=:]\s*)(?:AWS4-HMAC-SHA256\s+[^\r\n<]*|AWS\s+[^\s<&]+|Bearer\s+\S+|[^\s&<>\"',]+)"
)
_ELEMENTS = re.compile(
    r"(?is)<(AWSAccessKeyId|StringToSign|SignatureProvided|StringToSignBytes|CanonicalRequest|CanonicalRequestBytes)>.*?</\1>"
)
_SHORTEST = 4


class Scrubber:
    """Takes keys and signatures out of texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        from urllib.parse import quote

        long = [secret for secret in secrets if len(secret) >= _SHORTEST]
        forms = {form for s in long for form in (s, quote(s, safe=""), quote(s), json.dumps(s)[1:-1])}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, _HIDDEN)
        return _SIGNED.sub(rf"\1{_HIDDEN}", _ELEMENTS.sub("", text))


_STATUS = re.compile(r"(?:status code:?|status:) (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})")
_MAY_PASS = frozenset({408, 409, 412, 425, 429})
_NO_LONGER = frozenset({"NoSuchUpload", "NoSuchKey", "NoSuchBucket", "NotFound", "404"})


def _three(error: Exception, what: str, scrub: Scrubber) -> StorageNotFound | StorageForbidden | StorageUnavailable | None:
    """Return what an error of a client is in the contract's terms; None for what is none of a store."""
    status, code, said = 0, "", ""
    answer = getattr(error, "response", None)
    module = type(error).__module__
    if isinstance(answer, dict) and "Error" in answer:
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code, said = str(answer["Error"].get("Code", "")), str(answer["Error"].get("Message", ""))
    elif isinstance(error, FileNotFoundError):
        status = 404
    elif module.startswith("obstore"):
        text = str(error)
        status = int(found[1]) if (found := _STATUS.search(text)) else 0
        code = found[1] if (found := _CODE.search(text)) else ""
        said = found[1] if (found := _MESSAGE.search(text)) else ""
        kind = type(error).__name__
        status = status or {"PermissionDeniedError": 403, "UnauthenticatedError": 401, "PreconditionError": 412}.get(kind, 0)
    elif isinstance(error, ValueError) and not module.startswith("botocore"):
        return StorageForbidden(f"{scrub(what)} cannot be named in an object store")
    elif not module.startswith(("botocore", "urllib3")) and not isinstance(error, OSError):
        return None
    because = ": ".join(x for x in (code, scrub(said).strip()) if x)
    why = f" ({because})" if because else ""
    what = scrub(what)
    if status == 404 or code in _NO_LONGER:
        return StorageNotFound(f"{what} is not there{why}")
    if status == 412:
        return StorageUnavailable(f"{what} was changed while it was read")
    if 300 <= status < 500 and status not in _MAY_PASS and code not in ("RequestTimeout", "SlowDown", "BadDigest"):
        return StorageForbidden(f"the store refuses {what}: {because or f'status {status}'}")
    if status:
        return StorageUnavailable(f"the store cannot serve {what} now: {because or f'status {status}'}")
    return StorageUnavailable(f"the store does not answer for {what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return in few words of our own why there was no answer."""
    text = str(error).lower()
    for words, reason in (
        (("certificate", "tls", "ssl"), "its certificate is not accepted"),
        (("connection refused", "connectionrefused", "could not connect"), "the connection is refused"),
        (("dns error", "failed to lookup", "name or service"), "its host cannot be found"),
        (("timed out", "timedout", "timeouterror"), "time ran out"),
    ):
        if any(word in text for word in words):
            return reason
    return "the connection failed"


# ---- entries ------------------------------------------------------------------------------------------------------


def _attributes(path: str) -> dict[str, str]:
    """Return what a store is to tell of an object."""
    return {"Content-Type": _CAR_TYPE if path.endswith(".car") else _BYTES_TYPE}


def is_md5(tag: str) -> bool:
    """Whether an entity tag is the MD5 of the object."""
    return _MD5.match(tag) is not None


def _md5_of(tag: str | None) -> str:
    text = (tag or "").strip('"')
    return text if is_md5(text) else ""


def _entry_of(path: str, meta: Any) -> Entry:
    return Entry(path=path, size=meta["size"], modified_ns=_nanoseconds(meta["last_modified"]), hash=_md5_of(meta["e_tag"]))


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) * 1_000_000


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and not any(ord(c) < 32 or c == "\x7f" for c in name)


def _sorted(records: Iterable[_Record], key: Callable[[_Record], Any], spill_folder: Path | None) -> Iterator[_Record]:
    """Yield records by ``key``; runs of them wait in unnamed files when there are many. Stores differ in their order."""
    runs: list[Iterator[_Record]] = []
    held: list[_Record] = []
    for record in records:
        held.append(record)
        if len(held) >= SORT_ENTRIES:
            held.sort(key=key)
            runs.append(_spill(held, spill_folder))
            held = []
    held.sort(key=key)
    yield from heapq.merge(*runs, held, key=key) if runs else held


def _spill(records: Sequence[_Record], folder: Path | None) -> Iterator[_Record]:
    import tempfile

    file = unnamed_file(folder or Path(tempfile.gettempdir()))
    for record in records:
        file.write(json.dumps(record).encode() + b"\n")
    file.seek(0)
    return (tuple(json.loads(line)) for line in file)


def _parts_of(data: BinaryIO | Iterable[bytes], part_bytes: int) -> Iterator[bytes]:
    """Cut a stream into parts of equal size, the last one shorter."""
    read = getattr(data, "read", None)
    blocks: Iterable[bytes] = iter(lambda: read(_STREAM_BYTES), b"") if read is not None else data
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) >= part_bytes:
            yield bytes(held[:part_bytes])
            del held[:part_bytes]
    if held:
        yield bytes(held)


def _forget_environment() -> None:
    """Take ``AWS_*`` out of this process's environment, for good: neither client can be told to ignore all of them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
