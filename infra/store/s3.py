"""The verbs on S3, over s3fs.

s3fs keeps sessions, credentials and connections; every request goes through its `_call_s3`, one request per attempt,
because conditional headers, checksums and the reply's ETag are not reachable through its file methods. Its listing
and instance caches are off. One instance serves all threads of a process, and none survives a fork.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from fsspec.asyn import sync

from infra.store import s3_errors
from infra.store.errors import Changed, ContentMismatch, Exists, NotFound, StoreError, StoreRefused
from infra.store.local import landing
from infra.store.location import Location
from infra.store.options import StoreOptions, secret
from infra.store.retry import retrying
from infra.store.s3_tags import TagCheck
from infra.store.types import Digest, Leftover, Stat, compare_and_delete

_SINGLE_PUT = 32 * 2**20  # larger files go up in parts
_PART = 16 * 2**20
_PARTS_MAX = 9_000  # S3 takes 10,000
_PARALLEL = 4  # parts in flight per file; each holds its bytes in memory
_CHUNK = 2**20
_SLOWEST = 64 * 2**10  # bytes per second below which a request counts as hung


class S3Backend:
    """Objects below one prefix of one bucket. Tags are ETags as the server writes them."""

    def __init__(self, location: Location, options: StoreOptions) -> None:
        import s3fs

        for name in ("botocore", "aiobotocore"):  # at DEBUG they log headers, and so session tokens
            logger = logging.getLogger(name)
            if logger.getEffectiveLevel() < logging.INFO:
                logger.setLevel(logging.INFO)
        self._bucket, self._prefix = location.bucket, location.root
        self._options = options
        config: dict[str, Any] = {
            "connect_timeout": min(5.0, options.timeout_s),
            "read_timeout": options.timeout_s,
            "retries": {"total_max_attempts": 1},
            "max_pool_connections": options.connections,
            "request_checksum_calculation": options.checksums,
        }
        if options.addressing_style != "auto":
            config["s3"] = {"addressing_style": options.addressing_style}
        self._fs = s3fs.S3FileSystem(
            anon=options.anonymous,
            key=secret(options.access_key_id),
            secret=secret(options.secret_access_key),
            token=secret(options.session_token),
            endpoint_url=options.endpoint_url,
            client_kwargs={"region_name": options.region} if options.region else {},
            config_kwargs=config,
            use_listings_cache=False,
            skip_instance_cache=True,
            session=_session(options.profile),
        )
        self._fs.retries = 1
        self._tags = TagCheck()

    # Reading

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        def attempt() -> tuple[bytes, str]:
            data = bytearray()
            tag = self._get(path, data.extend)
            return bytes(data), tag

        return self._retrying(attempt)

    def stat(self, path: str) -> Stat | None:
        try:
            head = self._request("head_object", path)
        except NotFound:
            return None
        return Stat(path, head["ContentLength"], head["LastModified"].astimezone(UTC), head["ETag"])

    def list(self, prefix: str) -> Iterator[Stat]:
        for page in self._pages(prefix):
            for found in page.get("Contents", []):
                if not found["Key"].endswith("/"):  # a marker that some tools leave for an empty folder
                    changed = found["LastModified"].astimezone(UTC)
                    yield Stat(self._relative(found["Key"]), found["Size"], changed, found["ETag"])

    def folders(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"].rstrip("/").rsplit("/", 1)[-1]

    def delete_unchanged(self, found: Stat) -> bool:
        return compare_and_delete(self, found)

    def fetch(self, path: str, local: Path) -> None:
        def attempt() -> None:
            with landing(local) as temporary, temporary.open("xb") as sink:
                self._get(path, sink.write)

        self._retrying(attempt)

    def digest(self, path: str) -> Digest:
        def attempt() -> Digest:
            found, size = hashlib.sha256(), 0

            def sink(chunk: bytes) -> None:
                nonlocal size
                size += len(chunk)
                found.update(chunk)

            self._get(path, sink)
            return Digest(size, found.hexdigest())

        return self._retrying(attempt)

    # Writing

    def write(self, path: str, data: bytes) -> str:
        return str(self._request("put_object", path, writes=True, **_body(data))["ETag"])

    def create(self, path: str, data: bytes) -> str:
        try:
            return str(self._request("put_object", path, writes=True, IfNoneMatch="*", **_body(data))["ETag"])
        except s3_errors.PreconditionFailed:
            raise Exists(f"create {path}: it exists") from None

    def replace(self, path: str, data: bytes, tag: str) -> str:
        try:
            return str(self._request("put_object", path, writes=True, IfMatch=tag, **_body(data))["ETag"])
        except (s3_errors.PreconditionFailed, NotFound):
            raise Changed(f"replace {path}: it has changed or is gone") from None

    def write_file(self, path: str, local: Path, sha256: str, md5: str | None) -> None:
        """Every request carries Content-MD5, which servers check; then size and ETag of the whole are compared."""
        size = local.stat().st_size
        if size <= _SINGLE_PUT:
            data = local.read_bytes()
            _require(hashlib.sha256(data).hexdigest() == sha256, path, "the local file is not what was hashed")
            reply = self._request("put_object", path, writes=True, **_body(data))
            tag, echoed = hashlib.md5(data, usedforsecurity=False).hexdigest(), _echoes_checksum(reply)
            _require(md5 is None or md5 == tag, path, "the local file is not what was hashed")
        else:
            tag, echoed = self._upload_parts(path, local, size, sha256)
        self._confirm(path, size, tag, sha256, echoed)

    def _upload_parts(self, path: str, local: Path, size: int, sha256: str) -> tuple[str, bool]:
        """Multipart upload: nothing is visible before it is completed. Returns the ETag to expect."""
        part_size = max(_PART, -(-size // _PARTS_MAX))
        upload = self._request("create_multipart_upload", path)["UploadId"]
        try:
            whole, tags, echoed = hashlib.sha256(), [], True
            replies: list[dict[str, Any]] = []
            waiting: deque[Future[dict[str, Any]]] = deque()

            def send(number: int, part: bytes) -> dict[str, Any]:
                where = {"UploadId": upload, "PartNumber": number}
                return self._request("upload_part", path, writes=True, **where, **_body(part))

            with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="rushes-upload") as pool, local.open("rb") as source:
                while part := source.read(part_size):
                    whole.update(part)
                    tags.append(hashlib.md5(part, usedforsecurity=False).digest())
                    if len(waiting) == _PARALLEL:
                        replies.append(waiting.popleft().result())
                    waiting.append(pool.submit(send, len(tags), part))
                replies.extend(future.result() for future in waiting)
            _require(whole.hexdigest() == sha256, path, "the local file is not what was hashed")
            echoed = all(_echoes_checksum(reply) for reply in replies)
            parts = [{"PartNumber": i, "ETag": reply["ETag"]} for i, reply in enumerate(replies, 1)]
        except BaseException:
            self._abort(path, upload)
            raise
        with contextlib.suppress(NotFound):  # completed by an attempt whose reply was lost: the comparison decides
            self._request(
                "complete_multipart_upload", path, writes=True, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        return f"{hashlib.md5(b''.join(tags), usedforsecurity=False).hexdigest()}-{len(tags)}", echoed

    def _abort(self, path: str, upload: str) -> None:
        try:
            self._request("abort_multipart_upload", path, UploadId=upload)
        except StoreError as error:  # the upload stays open, unseen, until `gc` or a lifecycle rule ends it
            s3_errors.log.warning("an open upload of %s stays behind: %s", path, error)

    def _confirm(self, path: str, size: int, tag: str, sha256: str, echoed: bool) -> None:
        """Compare what arrived: size and MD5 by one HEAD, or by reading it back where the ETag is no MD5."""
        try:
            head = self._request("head_object", path)
        except NotFound:
            raise ContentMismatch(f"write {path}: it was accepted but is not there") from None
        _require(head["ContentLength"] == size, path, f"{size} bytes were sent, {head['ContentLength']} arrived")
        if head["ETag"].strip('"') == tag or ("aws:kms" in head.get("ServerSideEncryption", "") and echoed):
            return
        _require(self.digest(path).sha256 == sha256, path, "other bytes arrived than were sent")

    def delete(self, path: str) -> None:
        try:
            self._request("delete_object", path)
        except NotFound:
            return  # some servers answer 404; to S3 itself a second delete is a success

    def leftovers(self) -> Iterator[Leftover]:
        marks: dict[str, Any] = {}
        while True:
            page = self._call("list_multipart_uploads", Bucket=self._bucket, Prefix=self._key(""), **marks)
            for upload in page.get("Uploads", []):
                begun = upload["Initiated"].astimezone(UTC)
                yield Leftover(self._relative(upload["Key"]), 0, begun, upload["UploadId"])
            if not page.get("IsTruncated"):
                return
            marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def discard(self, leftover: Leftover) -> bool:
        try:
            self._request("abort_multipart_upload", leftover.path, UploadId=leftover.token)
        except NotFound:  # completed, or aborted, since it was listed
            return False
        return True

    def now(self) -> datetime:
        """The server's clock, as the Date of an answer tells it: to the second."""
        reply = self._call("list_objects_v2", Bucket=self._bucket, Prefix=self._key(""), MaxKeys=1)
        told = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        try:
            return parsedate_to_datetime(told).astimezone(UTC)
        except (TypeError, ValueError):  # a server that tells no time
            return datetime.now(UTC)

    def verifies_checksums(self, path: str) -> bool:
        wrong = base64.b64encode(hashlib.md5(b"other bytes", usedforsecurity=False).digest()).decode()

        def refused() -> bool:
            try:
                self._request("put_object", path, retry_s=0.0, Body=b"bytes", ContentMD5=wrong)
            except s3_errors.BadChecksum:  # the answer that is hoped for: asking again would bring the same
                return True
            return False

        return bool(self._retrying(refused))

    # Requests

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self._prefix, path) if part) if path else self._prefix and f"{self._prefix}/"

    def _relative(self, key: str) -> str:
        return key.removeprefix(f"{self._prefix}/") if self._prefix else key

    def _retrying(self, attempt: Callable[[], Any]) -> Any:
        return retrying(attempt, self._options.retry_s)

    def _request(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """One request about one object, with retries."""
        return self._call(method, path=path, Bucket=self._bucket, Key=self._key(path), **arguments)

    def _call(
        self, method: str, *, writes: bool = False, path: str = "", retry_s: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        limit = 2 * self._options.timeout_s + len(arguments.get("Body", b"")) / _SLOWEST

        def attempt() -> dict[str, Any]:
            with s3_errors.mapped(method, path or self._bucket, writes=writes):
                reply: dict[str, Any] = sync(self._fs.loop, self._fs._call_s3, method, timeout=limit, **arguments)
                return reply

        return retrying(attempt, self._options.retry_s if retry_s is None else retry_s)

    def _get(self, path: str, sink: Callable[[bytes], object]) -> str:
        """One GET, streamed into `sink`; no retry, because a second attempt must start with an empty sink.

        StoreUnavailable for a body that is not what its ETag says, such as one that was cut and closed in good order.
        """

        async def stream() -> tuple[dict[str, Any], str]:
            found = hashlib.md5(usedforsecurity=False)
            reply = await self._fs._call_s3("get_object", Bucket=self._bucket, Key=self._key(path))
            async with reply["Body"] as body:
                while chunk := await body.read(_CHUNK):
                    found.update(chunk)
                    sink(chunk)
            return reply, found.hexdigest()

        with s3_errors.mapped("get_object", path):
            reply, md5 = sync(self._fs.loop, stream)
        tag = str(reply["ETag"])
        self._tags.check(path, tag, md5, reply)
        return tag

    def _pages(self, prefix: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        folder = self._key(prefix)
        folder += "/" if prefix else ""
        while True:
            page = self._call("list_objects_v2", path=prefix, Bucket=self._bucket, Prefix=folder, **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]


def _session(profile: str | None) -> Any:
    """A session with credentials of its own, but AWS's service descriptions read once: that saves 0.3 s per client."""
    from aiobotocore.session import AioSession
    from botocore.exceptions import BotoCoreError

    try:
        session = AioSession(profile=profile)
        session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    except BotoCoreError as error:  # an unknown profile, or configuration files that are no such files
        raise StoreRefused(f"AWS settings: {error}") from error
    return session


@functools.cache
def _descriptions(search_path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(search_path)


def _body(data: bytes) -> dict[str, Any]:
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return {"Body": data, "ContentMD5": base64.b64encode(digest).decode()}


def _echoes_checksum(reply: dict[str, Any]) -> bool:
    return any(key.startswith("Checksum") and key != "ChecksumType" for key in reply)


def _require(fine: bool, path: str, otherwise: str) -> None:
    if not fine:
        raise ContentMismatch(f"write {path}: {otherwise}")
