"""The JSON beside a deliverable: how it was made, by what right, and that a model made it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from infra.provenance.manifest import AI_MEDIA, source_type, version
from infra.provenance.work import Work

FORMAT = 1
SUFFIX = ".provenance.json"
_TOOLS = ("rushes", "imageio-ffmpeg", "av", "c2pa-python")


def sidecar(
    work: Work, *, file: Mapping[str, Any], c2pa: Mapping[str, Any], disclosure: str, licence: Mapping[str, Any]
) -> dict[str, Any]:
    """The object that is written.

    Args:
        file: name, sha256 and bytes of the finished file.
        c2pa: state (embedded, detached, none), manifest, certificate, note.
        disclosure: the words that say that a model made it.
        licence: licence and rights_basis that hold where a take's own columns name none.
    """
    return {
        "format": FORMAT,
        "file": dict(file),
        "kind": work.kind,
        "profile": work.profile,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "disclosure": {
            "ai_generated": True,
            "text": disclosure,
            "digital_source_types": sorted({source_type(facts) for facts in work.takes} or {AI_MEDIA}),
        },
        **licence,
        "takes": [_with_rights(facts, licence) for facts in work.takes],
        "actions": [found if isinstance(found, str) else dict(found) for found in work.actions],
        "other_media": list(work.other_media),
        "c2pa": dict(c2pa),
        "tools": {"rushes": version()} | {name: metadata.version(name) for name in _TOOLS},
        **({"extra": dict(work.extra)} if work.extra else {}),
    }


def _with_rights(facts: Mapping[str, Any], licence: Mapping[str, Any]) -> dict[str, Any]:
    """A take's own columns come before what the settings say for all."""
    rights = facts.get("rights") or {}
    own = {name: rights.get(name, licence.get(name)) for name in ("licence", "rights_basis")}
    own["licence"] = rights.get("licence", rights.get("license", licence.get("licence")))
    return {**facts, **own}
