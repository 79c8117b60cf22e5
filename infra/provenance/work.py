"""What a finished file is, and what it was made from: the words in which cut and deliver tell provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["deliverable", "cut"]


@dataclass(frozen=True)
class Source:
    """A film that went in.

    Attributes:
        title: a name to show, such as the file's own.
        path: the local file, as it is in the store.
        facts: of a take, `Takes(store).facts(commit)`; None for a film with a manifest of its own, as a cut.
    """

    title: str
    path: Path
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Work:
    """A finished file that is to be signed.

    Attributes:
        kind: a cut is made of its sources (componentOf); a deliverable is its one source in another form (parentOf).
        title: the file's name, to show.
        sources: each once, in the order of their first use.
        profile: of a deliverable.
        actions: what was done beyond the ordinary, as C2PA names it: "c2pa.resized", "c2pa.cropped",
            {"action": "c2pa.edited", "description": "captions burned in"}. Without any it is "c2pa.transcoded".
        other_media: names of what no model made: an audio bed, title cards, captions.
        extra: more facts for the sidecar, JSON.
    """

    kind: Kind
    title: str
    sources: Sequence[Source]
    profile: str | None = None
    actions: Sequence[str | Mapping[str, Any]] = ()
    other_media: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    more_takes: Sequence[Mapping[str, Any]] = ()
    """Facts of takes that are in a source which is no take: those of the cut that a deliverable is made from."""

    def __post_init__(self) -> None:
        if self.kind == "deliverable" and len(self.sources) != 1:
            raise ValueError(f"a deliverable has one source, not {len(self.sources)}")

    @property
    def relationship(self) -> Literal["parentOf", "componentOf"]:
        """Of the sources to this file."""
        return "parentOf" if self.kind == "deliverable" else "componentOf"

    @property
    def takes(self) -> list[Mapping[str, Any]]:
        """The facts of all takes in it."""
        return [*(source.facts for source in self.sources if source.facts is not None), *self.more_takes]
