"""Where a job's plan came from. It travels in the plan's own metadata, so that the store alone can tell and go on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "rushes.origin"
FORMAT = 1
MOST_REFUSED_KEPT = 1000
"""Refused rows that a plan remembers; the others are counted."""
_USERINFO = re.compile(r"(?<=://)[^/]*@")


@dataclass(frozen=True)
class Origin:
    """What a plan was made from.

    Attributes:
        catalog: path or URL, without password and query; "prompt" for a single shot.
        catalog_sha256: over its bytes.
        model: as it was asked for: a name, folder or URL.
        options: what else enters a spec_key, as it entered the job's name.
        roots: prefixes that inputs may come from.
        rows_total, refused, refused_total: the catalog's rows; the first refused ones, and how many there were.
    """

    catalog: str
    catalog_sha256: str
    model: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    rows_total: int = 0
    refused: Sequence[Mapping[str, Any]] = ()
    refused_total: int = 0

    def attach(self, takes: pa.Table) -> pa.Table:
        """The table with this in its metadata."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, sort_keys=True)
        return takes.replace_schema_metadata({**(takes.schema.metadata or {}), KEY: text})

    @classmethod
    def of(cls, takes: pa.Table) -> Origin | None:
        """What `attach` put there; None for a plan that something else made."""
        found = (takes.schema.metadata or {}).get(KEY.encode())
        if found is None:
            return None
        try:
            values = json.loads(found)
            known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            return cls(**{**known, "roots": tuple(known.get("roots", ()))})
        except (ValueError, TypeError, RecursionError):  # a key of ours, and not what we put there
            return None


def shown_url(url: str) -> str:
    """A URL as it may be shown and kept: no user, no password; of http no query, which may hold a signature."""
    text = _USERINFO.sub("", url)
    return text.partition("?")[0] if text.startswith(("http://", "https://")) else text
