"""What is known of a take's making, from its commit and its row of the plan: the facts that provenance tells."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store.store import Store

_RIGHTS = frozenset(
    {
        "rights", "licence", "license", "licensor", "licensee", "copyright", "consent", "release", "releases",
        "clearance", "credit", "credits", "attribution",
    }
)  # fmt: skip
_INPUTS = ("image", "last_image", "video", "mask")
_FROM_COMMIT = ("show", "shot_id", "revision", "take", "seed", "spec_key", "picture_key")
_FROM_ROW = ("task", "prompt", "encoded_prompt", "negative_prompt", "steps", "guidance_scale", "strength", "identity")
_ORIGIN = b"rushes.origin"
_LONGEST = 4000  # characters of one value: a catalog is not a place for a book


def is_rights_column(name: str) -> bool:
    """Whether a column of a catalog speaks of rights: `rights`, `licence`, `rights_basis`, `music_license`, …"""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return not _RIGHTS.isdisjoint(words)


def rights_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that speak of rights, and such entries of `tags`, with values that JSON can hold."""
    found = {name: value for name, value in row.items() if is_rights_column(name)}
    tags = row.get("tags") or {}
    pairs = tags.items() if isinstance(tags, Mapping) else tags
    found |= {f"tags.{name}": value for name, value in pairs if is_rights_column(str(name))}
    return {name: _plain(value) for name, value in sorted(found.items()) if value not in (None, "", [], {})}


def take_facts(commit: Mapping[str, Any], row: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a take.

    Args:
        commit: as it stands in the store.
        row: its row of the plan; empty where no plan has it.
        origin: what the plan says of itself (`options.model` is the digest of the job's model).
    """
    options = origin.get("options") or {}
    facts: dict[str, Any] = {name: commit[name] for name in _FROM_COMMIT}
    facts["media"] = dict(commit["media"])
    facts |= {name: _plain(row[name]) for name in _FROM_ROW if row.get(name) is not None}
    facts["model"] = {"name": row.get("model") or origin.get("model"), "digest": options.get("model")}
    facts["lora"] = _plain(row.get("lora") or [])
    facts["sampler"] = options.get("sampler")
    facts["inputs"] = [
        {"kind": kind, "uri": shown_uri(row.get(f"{kind}_uri")), "sha256": row.get(f"{kind}_sha256")}
        for kind in _INPUTS
        if row.get(f"{kind}_uri")
    ]
    if row.get("source_shot"):
        facts["source_shot"] = row["source_shot"]
    facts["rights"] = rights_of(row)
    notes, times = commit.get("notes") or {}, commit.get("times") or {}
    facts["job_id"] = notes.get("job_id")
    facts["committed"] = times.get("committed")
    facts["tools"] = dict(commit.get("tools") or {})
    return facts


class Takes:
    """Reads facts of takes from a store, each plan once. Raises StoreError as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plans: dict[str, tuple[pa.Table, list[str | None], dict[str, Any]] | None] = {}

    def facts(self, commit: Mapping[str, Any]) -> dict[str, Any]:
        """As `take_facts`, of a commit. Where its job's plan is gone, what the commit itself says."""
        job_id = (commit.get("notes") or {}).get("job_id")
        plan = self._plan(str(job_id)) if job_id else None
        if plan is None:
            return take_facts(commit, {}, {})
        table, keys, origin = plan
        number = keys.index(commit["spec_key"]) if commit["spec_key"] in keys else self._by_name(table, commit)
        row = table.slice(number, 1).to_pylist()[0] if number is not None else {}
        return take_facts(commit, row, origin)

    def _plan(self, job_id: str) -> tuple[pa.Table, list[str | None], dict[str, Any]] | None:
        if job_id not in self._plans:
            self._plans[job_id] = self._read(job_id)
        return self._plans[job_id]

    def _read(self, job_id: str) -> tuple[pa.Table, list[str | None], dict[str, Any]] | None:
        from infra.store.additions import read_takes
        from infra.store.errors import Damaged, NotFound

        try:
            table = read_takes(self._store, job_id)
        except (NotFound, Damaged, ValueError):
            return None
        origin = json.loads((table.schema.metadata or {}).get(_ORIGIN, b"{}"))
        if len(set(table["model"].to_pylist())) > 1 and "options" in origin:
            origin["options"]["model"] = None  # of several models the plan names one digest: say nothing wrong
        return table, table["spec_key"].to_pylist(), origin

    @staticmethod
    def _by_name(table: pa.Table, commit: Mapping[str, Any]) -> int | None:
        """A key that the plan left open: the row of the same show, shot and take."""
        wanted = tuple(commit[name] for name in ("show", "shot_id", "take"))
        names = zip(*(table[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True)
        return next((number for number, name in enumerate(names) if name == wanted), None)


def shown_uri(uri: str | None) -> str | None:
    """An address as it may be shown: no user, password, query or fragment, any of which may hold a secret."""
    if uri is None or "://" not in uri:
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has none
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(part) for part in value]
    return str(value)[:_LONGEST]
