"""Where a cut's film comes from, signed into it when nothing is left to be changed: every take in it once."""

from __future__ import annotations

from pathlib import Path

from infra.cut.errors import CutError
from infra.cut.render import Film, Shop
from infra.cut.timeline import Card, Take, Timeline
from infra.provenance import Finished, Source, Takes, Work, finish
from infra.provenance_settings import ProvenanceSettings
from infra.store.commits import read_commit


def sign(timeline: Timeline, film: Film, shop: Shop, settings: ProvenanceSettings) -> Finished:
    """Sign the film, in its place, and read it back.

    Raises:
        CutError: a take is no longer in the store. ProvenanceError: it cannot be signed, or does not read back.
        StoreError: as it is.
    """
    facts = Takes(shop.store)
    sources = []
    for take in dict.fromkeys(part.content for part in timeline.parts if isinstance(part.content, Take)):
        commit = read_commit(shop.store, take.spec_key)
        if commit is None:
            raise CutError(f"{take.name} is no longer in the store", "Somebody removed it while it was cut.")
        sources.append(Source(Path(take.media).name, shop.film_of(take), facts.facts(commit)))
    other = [f"title card {number}" for number, part in enumerate(timeline.parts, 1) if isinstance(part.content, Card)]
    if film.sound is not None:
        other.append("sound")
    return finish(film.path, Work("cut", f"{timeline.name}.mp4", sources, other_media=other), settings)
