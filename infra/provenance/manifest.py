"""C2PA manifests as data: who made what out of what, in the terms of the C2PA specification. Nothing is signed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final

from infra.provenance.work import Work

_IPTC: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
AI_MEDIA: Final = f"{_IPTC}trainedAlgorithmicMedia"
AI_COMPOSITE: Final = f"{_IPTC}compositeWithTrainedAlgorithmicMedia"
ASSERTION: Final = "org.rushes.provenance"
"""Label of the assertion with what rushes knows: keys, seed, model, rights. A JSON object."""
_PROMPTS: Final = ("prompt", "encoded_prompt", "negative_prompt")
_LARGEST: Final = 200_000  # characters of all takes' facts in one manifest; beyond, keys and rights alone


def source_type(facts: Mapping[str, Any]) -> str:
    """Whether a take was made by a model alone, or keeps frames of a film that people brought."""
    brought = any(found["kind"] == "video" for found in facts.get("inputs", ()))
    return AI_COMPOSITE if brought else AI_MEDIA


def of_take(facts: Mapping[str, Any], title: str, mime: str, *, prompts: bool, disclosure: str) -> dict[str, Any]:
    """The manifest of a take as it was rendered: created, by a model."""
    created = {
        "action": "c2pa.created",
        "digitalSourceType": source_type(facts),
        "softwareAgent": _agent(facts.get("tools") or {}),
        "description": disclosure,
    }
    if facts.get("committed"):
        created["when"] = facts["committed"]
    return _manifest(title, mime, [created], {"takes": [_told(facts, prompts)], "disclosure": disclosure})


def of_work(work: Work, mime: str, *, prompts: bool, disclosure: str, licence: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a cut or a deliverable; its ingredients are labelled `source-0`, `source-1`, …"""
    labels = [label(number) for number in range(len(work.sources))]
    if work.relationship == "parentOf":
        opened: dict[str, Any] = {"action": "c2pa.opened", "parameters": {"ingredientIds": labels}}
        actions = [opened, *(_action(found) for found in work.actions or ("c2pa.transcoded",))]
    else:
        kinds = {source_type(source.facts) for source in work.sources if source.facts is not None}
        mixed = bool(work.other_media) or AI_COMPOSITE in kinds
        created = {
            "action": "c2pa.created",
            "digitalSourceType": AI_COMPOSITE if mixed else AI_MEDIA,
            "softwareAgent": _agent({}),
            "description": disclosure,
        }
        placed = [{"action": "c2pa.placed", "parameters": {"ingredientIds": [name]}} for name in labels]
        actions = [created, *placed, *(_action(found) for found in work.actions)]
    told = [_told(facts, prompts) for facts in work.takes]
    if len(repr(told)) > _LARGEST:
        told = [{name: facts[name] for name in ("show", "shot_id", "take", "spec_key", "rights")} for facts in told]
    body: dict[str, Any] = {"kind": work.kind, "takes": told, "disclosure": disclosure, **licence}
    if work.profile:
        body["profile"] = work.profile
    if work.other_media:
        body["other_media"] = list(work.other_media)
    return _manifest(work.title, mime, actions, body)


def ingredient(number: int, title: str, relationship: str) -> dict[str, Any]:
    """The definition of a source, to go with its file."""
    return {"title": title, "relationship": relationship, "label": label(number)}


def label(number: int) -> str:
    return f"source-{number}"


def version() -> str:
    """Of rushes, as installed."""
    return metadata.version("rushes")


def _manifest(title: str, mime: str, actions: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "claim_generator_info": [{"name": "rushes", "version": version()}],
        "title": title,
        "format": mime,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": list(actions)}},
            {"label": ASSERTION, "kind": "Json", "data": dict(body)},
        ],
    }


def _told(facts: Mapping[str, Any], prompts: bool) -> dict[str, Any]:
    """A take's facts for readers outside: no tools, and its prompts only where that is wanted."""
    hidden = {"tools", "committed"} | (set() if prompts else set(_PROMPTS))
    return {name: value for name, value in facts.items() if name not in hidden}


def _agent(tools: Mapping[str, Any]) -> dict[str, str]:
    return {"name": "rushes", "version": str(tools.get("rushes") or version())}


def _action(found: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"action": found} if isinstance(found, str) else dict(found)
