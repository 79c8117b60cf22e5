"""Whether a body that was read is the object that its ETag names."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from infra.store.errors import StoreUnavailable

_MD5 = re.compile(r"[0-9a-f]{32}")
_REMEMBERED = 256


class TagCheck:
    """Compares the MD5 of what a GET brought with the ETag, where that is one. Threads may share it.

    An ETag may look like an MD5 and be none (a server that encrypts by itself does not always say so). So the second
    time that an object brings the very same bytes under the same tag, they are taken: a cut in transit hardly falls
    twice at the same byte.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doubted: dict[tuple[str, str], str] = {}

    def check(self, path: str, tag: str, md5: str, reply: Mapping[str, Any]) -> None:
        """StoreUnavailable, which is worth another attempt, where the bytes are not what the tag says."""
        expected = tag.strip('"')
        encrypted = reply.get("SSECustomerAlgorithm") or "aws:kms" in str(reply.get("ServerSideEncryption") or "")
        if expected == md5 or encrypted or not _MD5.fullmatch(expected):  # that of several parts is no MD5
            return
        with self._lock:
            if self._doubted.pop((path, expected), None) == md5:
                return
            while len(self._doubted) >= _REMEMBERED:
                self._doubted.pop(next(iter(self._doubted)))
            self._doubted[path, expected] = md5
        raise StoreUnavailable(f"get_object {path}: other bytes came than the ETag {expected} says")
