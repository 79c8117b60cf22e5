"""What is to be delivered: takes or a cut, times profiles, times locales, each under a name of its own.

Everything here is decided before anything is made, so that what cannot work is said before the first encode.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from infra.deliver.captions import UNKNOWN, Captions, split_locale
from infra.deliver.errors import BadAudio, BadTemplate, DeliverError
from infra.deliver.look import sound
from infra.deliver.naming import CUT, TAKE, Template, aspect_of
from infra.deliver.profiles import Profile, pick
from infra.deliver.records import cut_folder, take_folder
from infra.deliver.work import shape_of, size_of
from infra.media.errors import Unplayable
from infra.media.rate import as_rate
from infra.store import layout
from infra.store.errors import NotFound

if TYPE_CHECKING:
    from infra.store.selection import Chosen
    from infra.store.store import Store

_Local = TypeVar("_Local", Captions, "Voice")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MADE: Final = ("profile", "aspect", "locale")
_FROM_COMMIT: Final = ("show", "shot_id", "revision", "take", "seed", "spec_key", "attempt", "gpu_s")


@dataclass(frozen=True)
class Item:
    """A finished take or a cut, as the store tells it. fps: None for a still. fields: for templates and slates.

    cuts: frames at which another shot begins. cards: those of them, or 0, at which something without a subject does.
    titles: frames of title cards, from the first to the one behind the last.
    """

    kind: Literal["take", "cut"]
    media: str
    sha256: str
    width: int
    height: int
    frames: int
    fps: Fraction | None
    fields: Mapping[str, Any]
    profiles: Sequence[str]
    locale: str | None = None
    commits: Sequence[Mapping[str, Any]] = ()
    cuts: Sequence[int] = ()
    cards: Sequence[int] = ()
    titles: Sequence[tuple[int, int]] = ()

    @property
    def title(self) -> str:
        """For people."""
        if self.kind == "cut":
            return f"cut {self.fields['cut']}"
        return f"{self.fields['show']}/{self.fields['shot_id']} take {self.fields['take']}"

    @property
    def source(self) -> dict[str, Any]:
        """For the record."""
        names = ("cut",) if self.kind == "cut" else ("show", "shot_id", "revision", "take", "seed", "spec_key")
        return {"kind": self.kind, **{name: self.fields[name] for name in names}, "media": self.media} | {
            "sha256": self.sha256
        }


@dataclass(frozen=True)
class Voice:
    """A file of sound, of one locale or of any."""

    path: Path
    sha256: str
    locale: str | None


@dataclass(frozen=True)
class Order:
    """One deliverable. folder: in the store; name: of its file there, without a suffix."""

    item: Item
    profile: Profile
    folder: str
    name: str
    locale: str | None
    captions: Sequence[Captions] = ()
    voice: Voice | None = None


@dataclass(frozen=True)
class Wanted:
    """What the user asked for. template: None for the usual names."""

    profiles: Mapping[str, Profile]
    template: Template | None = None
    captions: Sequence[Captions] = ()
    voices: Sequence[Voice] = ()
    named: Sequence[str] = field(default_factory=list)
    """Profiles that were named; else each item's own."""
    title: str | None = None
    """Of the programme, for slates; else what the items say."""


def read_voice(given: str) -> Voice:
    """The sound of FILE or LOCALE=FILE. BadAudio: not there, or nothing in it that can be heard."""
    locale, file = split_locale(given)
    try:
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        found = sound(file)
    except OSError as error:
        raise BadAudio(f"{file}: {error.strerror or 'cannot be read'}") from error
    except Unplayable as error:
        raise BadAudio(f"{file}: its sound cannot be read: {error.reason}") from error
    if found is None or not found.seconds:
        raise BadAudio(f"{file}: no sound in it")
    return Voice(file.resolve(), sha256, locale)


def take_item(chosen: Chosen, row: Mapping[str, Any]) -> Item:
    """The item of a chosen take. row: of its job's plan, empty where none is known."""
    commit = chosen.commit
    media = commit["media"]
    fields = {name: value for name, value in row.items() if value is None or isinstance(value, str | int | float)}
    fields |= {name: commit[name] for name in _FROM_COMMIT if name in commit}
    fields.setdefault("date", _day((commit.get("times") or {}).get("committed")))
    fields |= {"media_path": media["path"], "sha256": media["sha256"], "bytes": media["bytes"]}
    still = media.get("fps") is None or media["path"].endswith(".png")
    profiles = list(row.get("deliver") or ["mp4"])
    if still:  # mp4 is the default of every row, and a still cannot play
        profiles = list(dict.fromkeys("png" if name == "mp4" else name for name in profiles))
    return Item(
        "take", media["path"], media["sha256"], media["width"], media["height"], media["frames"],
        None if still else as_rate(media["fps"]), fields, profiles, row.get("locale"), [commit],
    )  # fmt: skip


def cut_item(store: Store, name: str) -> Item:
    """The item of a cut. DeliverError: there is none, or its record cannot be read."""
    path = layout.cut_path(name)
    try:
        record = json.loads(store.read(path))
        film = record["film"]
        parts = record.get("parts", ())
        cuts = sorted({int(part["record_in"]) for part in parts} - {0})
        cards = sorted(int(part["record_in"]) for part in parts if not part.get("spec_key"))
        fields = {
            "cut": name,
            "date": _day(record.get("created")),
            "bytes": film["bytes"],
            "media_path": film["path"],
            "sha256": film["sha256"],
        }
        return Item(
            "cut", film["path"], film["sha256"], int(film["width"]), int(film["height"]), int(film["frames"]),
            _rate(film["fps"]), fields, ["mp4"], None, _cut_commits(store, record), cuts, cards,
            _titles(parts),
        )  # fmt: skip
    except NotFound as error:
        there = sorted(store.folders(layout.CUTS))
        raise DeliverError(f"{store.url} has no cut {name}. It has: {', '.join(there[:8]) or 'none'}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DeliverError(f"{path} cannot be read as a cut: {type(error).__name__}: {error}") from error


def _titles(parts: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Frames of the title cards of a cut; where the next part comes in over one, it has the picture."""
    begins = [int(part["record_in"]) for part in parts[1:]]
    ends = [min(int(part["record_out"]), after) for part, after in zip(parts[:-1], begins, strict=True)]
    ends += [int(part["record_out"]) for part in parts[-1:]]
    return [
        (int(part["record_in"]), end)
        for part, end in zip(parts, ends, strict=True)
        if part.get("kind") == "title" and int(part["record_in"]) < end
    ]


def _day(when: Any) -> str | None:
    """The day of a time as commits and cuts have it, 2026-03-01; None for any other."""
    return str(when)[:10] if isinstance(when, str) and _DATE.match(when) else None


def orders_of(items: Sequence[Item], wanted: Wanted) -> list[Order]:
    """Every deliverable that is asked for. BadTemplate, BadProfiles, DeliverError."""
    orders: list[Order] = []
    for item in items:
        if wanted.title is not None:
            item = replace(item, fields={**item.fields, "title": wanted.title})
        named = wanted.named or item.profiles
        for profile in pick(wanted.profiles, named):
            for locale, captions, voice in _versions(item, profile, wanted):
                orders.append(_order(item, profile, wanted.template, locale, captions, voice))
    taken: dict[tuple[str, str], Order] = {}
    for order in orders:
        # without regard to case, and to what stands beside a file: one disk's names are another's
        place = (order.folder.lower(), order.name.lower())
        if (other := taken.setdefault(place, order)) is not order:
            raise BadTemplate(
                f"{other.item.title} and {order.item.title} would both be {order.name} as {order.profile.name}: "
                "put {take}, {revision} or {locale} into the template"
            )
    return orders


def known_fields(items: Sequence[Item]) -> Collection[str]:
    """Fields that a template may use: those that every item has."""
    common = set.intersection(*(set(item.fields) for item in items)) if items else set()
    return common | {"width", "height", "frames", "fps", *_MADE}


def _order(
    item: Item,
    profile: Profile,
    template: Template | None,
    locale: str | None,
    captions: Sequence[Captions],
    voice: Voice | None,
) -> Order:
    template = template or Template(CUT if item.kind == "cut" else TAKE)
    width, height, frames, fps = _facts(item, profile)
    values = {
        **item.fields, "profile": profile.name, "locale": locale, "aspect": aspect_of(width, height),
        "width": width, "height": height, "frames": frames, "fps": fps,
    }  # fmt: skip
    if item.kind == "cut":
        folder = cut_folder(item.fields["cut"], profile.name)
    else:
        folder = take_folder(profile.name, item.fields["show"], item.fields["shot_id"])
    return Order(item, profile, folder, template.name(values), locale, tuple(captions), voice)


def _facts(item: Item, profile: Profile) -> tuple[int, int, int, float | None]:
    if item.fps is None or not profile.plays:
        width, height = size_of((item.width, item.height), profile)
        return width, height, item.frames, None if item.fps is None else float(item.fps)
    shape = shape_of(_Facts(item.width, item.height, item.frames, item.fps), profile)
    return *shape.size, shape.frames, float(shape.rate)


@dataclass(frozen=True)
class _Facts:
    width: int
    height: int
    frames: int
    fps: Fraction


def _versions(
    item: Item, profile: Profile, wanted: Wanted
) -> list[tuple[str | None, Sequence[Captions], Voice | None]]:  # fmt: skip
    """Locale, captions and voice of each version of an item: its own locale's, or one for each that is given.

    Voices make versions, and so do captions that are drawn into the picture. Captions beside a film do not.
    """
    captions = wanted.captions if profile.captions != "none" else ()
    voices = [voice for voice in wanted.voices if profile.audio is not None]
    common = next((voice for voice in voices if voice.locale is None), None)
    if item.locale is not None:
        own = [_best(item.locale, captions)] if _best(item.locale, captions) else []
        return [(item.locale, [one for one in own if one], _best(item.locale, voices) or common)]
    spoken = sorted({voice.locale for voice in voices if voice.locale is not None})
    if spoken:
        found = [(locale, _best(locale, captions), _best(locale, voices)) for locale in spoken]
        return [(locale, [own] if own else [], voice) for locale, own, voice in found]
    if profile.burns and captions:
        return [(None if own.locale == UNKNOWN else own.locale, [own], common) for own in captions]
    return [(None, captions, common)]


def _best(locale: str, given: Sequence[_Local]) -> _Local | None:
    """Of exactly this locale, else of its language (de for de-AT)."""
    for wanted in (locale.lower(), locale.lower().partition("-")[0]):
        for one in given:
            if one.locale is not None and one.locale.lower() == wanted:
                return one
    return None


def _rate(value: Any) -> Fraction:
    return as_rate(Fraction(value) if isinstance(value, str) else float(value))


def _cut_commits(store: Store, record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The commits of the takes in a cut, each once, as far as they stand."""
    from infra.store.commits import read_many

    keys = list(dict.fromkeys(part["spec_key"] for part in record.get("parts", ()) if part.get("spec_key")))
    found = read_many(store, keys)
    return [commit for key in keys if isinstance(commit := found.get(key), dict)]
