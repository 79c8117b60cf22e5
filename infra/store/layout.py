"""The names of all objects in a store, as DESIGN.md lists them, and how to read them back."""

from __future__ import annotations

import re
from typing import NamedTuple

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # a show, a shot_id, a job_id
_REVISION = re.compile(r"[0-9a-f]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")

MEDIA = "shots"
COMMITS = "commits"
POSTERS = "posters"
LOGS = "logs"
JOBS = "jobs"
DECISIONS = "decisions"
DELIVERABLES = "deliver"
CUTS = "cuts"
DAMAGED = "damaged"
ASSETS = "assets"

_COMMIT = re.compile(rf"{COMMITS}/([0-9a-f]{{2}})/([0-9a-f]{{64}})\.json")
_DAMAGED = re.compile(rf"{COMMITS}/[0-9a-f]{{2}}/[0-9a-f]{{64}}\.damaged-[0-9a-f]{{8}}")
_SET_ASIDE = re.compile(
    rf"(?:{COMMITS}/[0-9a-f]{{2}}/([0-9a-f]{{64}})\.damaged-.+|{DAMAGED}/([0-9a-f]{{64}})\.\d+\.json)"
)
_MISPLACED = re.compile(rf"{COMMITS}/(?:.+/)?[0-9a-f]{{64}}\.json")
_DESKTOP = {"thumbs.db", "desktop.ini"}
_POSTER = re.compile(rf"{POSTERS}/([0-9a-f]{{2}})/([0-9a-f]{{64}})\.jpg")
# Numbers as the functions below write them, so that one object has one name; as large as tables hold.
_COUNT = r"(0|[1-9][0-9]{0,17})"
_TAKE = r"take-([0-9]{3}|[1-9][0-9]{3,17})"
_MEDIA = re.compile(
    rf"{MEDIA}/({NAME.pattern})/({NAME.pattern})/([0-9a-f]{{8}})\.{_TAKE}\.([0-9a-f]{{8}})(\.[a-z0-9]{{1,8}})"
)
_QUARANTINE = re.compile(
    rf"{JOBS}/({NAME.pattern})/quarantine/({NAME.pattern})/({NAME.pattern})/{_TAKE}\.{_COUNT}\.json"
)
_PIECE = re.compile(rf"{JOBS}/({NAME.pattern})/pieces/([0-9a-f]{{64}})/({NAME.pattern})\.safetensors")
_DECISION = re.compile(rf"{DECISIONS}/({NAME.pattern})/({NAME.pattern})\.json")
_ADDITION = re.compile(rf"{JOBS}/({NAME.pattern})/additions/{_COUNT}\.parquet")
_SEGMENT = re.compile(rf"{CUTS}/({NAME.pattern})/segments/([0-9a-f]{{64}})\.mp4")
_ROUND = re.compile(rf"{JOBS}/({NAME.pattern})/rounds/{_COUNT}\.json")


class Take(NamedTuple):
    """Which take an object belongs to, as far as its name says."""

    show: str
    shot_id: str
    take: int


class MediaName(NamedTuple):
    """What the name of a film says."""

    show: str
    shot_id: str
    revision: str
    take: int
    sha8: str
    suffix: str


class PieceName(NamedTuple):
    """What the name of a piece of a long clip says."""

    job_id: str
    spec_key: str
    piece: str


def media_path(show: str, shot_id: str, revision: str, take: int, sha256: str, suffix: str = ".mp4") -> str:
    """A film, or a still, under its content's name."""
    _fits(_SHA256, sha256, "sha256")
    _fits(_SUFFIX, suffix, "suffix")
    return f"{MEDIA}/{_take(show, shot_id, revision, take)}.{sha256[:8]}{suffix}"


def parse_media_path(path: str) -> MediaName | None:
    """What `media_path` was called with (of the hash its first 8 digits), or None for another name."""
    found = _MEDIA.fullmatch(path)
    if found is None:
        return None
    show, shot_id, revision, take, sha8, suffix = found.groups()
    return MediaName(show, shot_id, revision, int(take), sha8, suffix)


def commit_path(spec_key: str) -> str:
    """The commit of a take."""
    _fits(_SHA256, spec_key, "spec_key")
    return f"{COMMITS}/{spec_key[:2]}/{spec_key}.json"


def parse_commit_path(path: str) -> str | None:
    """The spec_key that a commit's name holds, or None for another name."""
    found = _COMMIT.fullmatch(path)
    return found[2] if found and found[2].startswith(found[1]) else None


def damaged_path(spec_key: str, sha256: str) -> str:
    """Where the bytes of an unreadable commit are kept when a new rendering takes its place."""
    _fits(_SHA256, sha256, "sha256")
    return commit_path(spec_key).removesuffix(".json") + f".damaged-{sha256[:8]}"


def is_damaged_path(path: str) -> bool:
    """Whether `damaged_path` makes such names."""
    return _DAMAGED.fullmatch(path) is not None


def moved_aside_path(name: str, number: int) -> str:
    """Where `verify --repair` moves a damaged commit: `name` is its spec_key, or the last part of a strange name."""
    return f"{DAMAGED}/{name}.{_count(number)}.json"


def set_aside_key(path: str) -> str | None:
    """The spec_key of a commit that was set aside, in one place or the other; None for another name."""
    found = _SET_ASIDE.fullmatch(path)
    return (found[1] or found[2]) if found else None


def poster_path(spec_key: str) -> str:
    """The poster of a take."""
    _fits(_SHA256, spec_key, "spec_key")
    return f"{POSTERS}/{spec_key[:2]}/{spec_key}.jpg"


def parse_poster_path(path: str) -> str | None:
    """The spec_key that a poster's name holds, or None for another name."""
    found = _POSTER.fullmatch(path)
    return found[2] if found and found[2].startswith(found[1]) else None


def asset_path(kind: str, show: str, shot_id: str, revision: str, take: int, suffix: str) -> str:
    """A side asset of a take: its matte, its motion track, …; `.json` tells of it and is written last."""
    _fits(NAME, kind, "kind")
    _fits(_SUFFIX, suffix, "suffix")
    return f"{ASSETS}/{kind}/{_take(show, shot_id, revision, take)}{suffix}"


def log_path(show: str, shot_id: str, revision: str, take: int, job_id: str, epoch: int, attempt: int) -> str:
    """The log of one attempt at a take."""
    _fits(NAME, job_id, "job_id")
    return f"{LOGS}/{_take(show, shot_id, revision, take)}.{job_id}.{_count(epoch)}.{_count(attempt)}.log"


def logs_folder(show: str, shot_id: str) -> str:
    """The folder with all logs of a shot."""
    return f"{LOGS}/{_fits(NAME, show, 'show')}/{_fits(NAME, shot_id, 'shot_id')}"


def job_folder(job_id: str) -> str:
    return f"{JOBS}/{_fits(NAME, job_id, 'job_id')}"


def plan_path(job_id: str) -> str:
    return f"{job_folder(job_id)}/plan.parquet"


def finals_path(job_id: str) -> str:
    """The takes of a draft's catalog at full size."""
    return f"{job_folder(job_id)}/final.parquet"


def storyboard_path(job_id: str) -> str:
    """Until when people may decide about the stills of this job."""
    return f"{job_folder(job_id)}/storyboard.json"


def addition_path(job_id: str, number: int) -> str:
    """Retakes, added shots and changed priorities, numbered from 1."""
    return f"{additions_folder(job_id)}/{_count(number)}.parquet"


def additions_folder(job_id: str) -> str:
    return f"{job_folder(job_id)}/additions"


def parse_addition_path(path: str) -> int | None:
    """The number of an addition, or None for another name."""
    found = _ADDITION.fullmatch(path)
    return int(found[2]) if found else None


def shard_path(job_id: str, number: int) -> str:
    """The commits of one shard in one table."""
    return f"{job_folder(job_id)}/shards/{_count(number)}.parquet"


def shards_folder(job_id: str) -> str:
    return f"{job_folder(job_id)}/shards"


def manifest_path(job_id: str) -> str:
    return f"{job_folder(job_id)}/manifest.parquet"


def quarantine_folder(job_id: str) -> str:
    return f"{job_folder(job_id)}/quarantine"


def quarantine_path(job_id: str, show: str, shot_id: str, take: int, round: int) -> str:
    """The record of a take given up in one round."""
    _fits(NAME, show, "show")
    _fits(NAME, shot_id, "shot_id")
    return f"{quarantine_folder(job_id)}/{show}/{shot_id}/take-{_count(take):03d}.{_count(round)}.json"


def parse_quarantine_path(path: str) -> tuple[Take, int] | None:
    """Take and round of a quarantine record, or None for another name."""
    found = _QUARANTINE.fullmatch(path)
    if found is None:
        return None
    return Take(found[2], found[3], int(found[4])), int(found[5])


def quarantine_table_path(job_id: str) -> str:
    return f"{job_folder(job_id)}/quarantine.parquet"


def pieces_folder(job_id: str, spec_key: str | None = None) -> str:
    """Where pieces of long clips are kept until their takes are committed: of a job, or of one take of it."""
    folder = f"{job_folder(job_id)}/pieces"
    return folder if spec_key is None else f"{folder}/{_fits(_SHA256, spec_key, 'spec_key')}"


def piece_path(job_id: str, spec_key: str, piece: str) -> str:
    """The latents of one piece of a long clip."""
    return f"{pieces_folder(job_id, spec_key)}/{_fits(NAME, piece, 'piece')}.safetensors"


def parse_piece_path(path: str) -> PieceName | None:
    """What `piece_path` was called with, or None for another name."""
    found = _PIECE.fullmatch(path)
    return None if found is None else PieceName(*found.groups())


def is_foreign(path: str) -> bool:
    """Whether no program of ours wrote it: what desktops (`.DS_Store`), sync clients and people leave in a store.

    Below commits/ that is every name but a commit's; one in the wrong folder is not foreign, for its bytes are ours.
    """
    if path.startswith(f"{COMMITS}/"):
        return not (is_damaged_path(path) or _MISPLACED.fullmatch(path))
    return any(part.startswith(".") or part.lower() in _DESKTOP for part in path.split("/"))


def decision_path(show: str, shot_id: str) -> str:
    """Which take of a shot people chose."""
    return f"{DECISIONS}/{_fits(NAME, show, 'show')}/{_fits(NAME, shot_id, 'shot_id')}.json"


def parse_decision_path(path: str) -> tuple[str, str] | None:
    """Show and shot_id of a decision, or None for another name."""
    found = _DECISION.fullmatch(path)
    return (found[1], found[2]) if found else None


def cut_folder(name: str) -> str:
    """Everything of one cut: film, timeline, deliverables, captions."""
    return f"{CUTS}/{_fits(NAME, name, 'the name of a cut')}"


def cut_path(name: str) -> str:
    """The record of a cut, which names all its files and is written last."""
    return f"{cut_folder(name)}/cut.json"


def cut_file_path(name: str, stem: str, sha256: str, suffix: str) -> str:
    """A file of a cut under its content's name, such as `film.0011aabb.mp4`: a new one never overwrites the old."""
    _fits(_SHA256, sha256, "sha256")
    _fits(_SUFFIX, suffix, "suffix")
    return f"{cut_folder(name)}/{_fits(NAME, stem, 'stem')}.{sha256[:8]}{suffix}"


def segment_path(name: str, key: str) -> str:
    """An encoded part of a cut's film, kept for the next cut of that name."""
    return f"{cut_folder(name)}/segments/{_fits(_SHA256, key, 'key')}.mp4"


def segments_folder(name: str) -> str:
    return f"{cut_folder(name)}/segments"


def parse_segment_path(path: str) -> tuple[str, str] | None:
    """Cut and key of an encoded part, or None for another name."""
    found = _SEGMENT.fullmatch(path)
    return (found[1], found[2]) if found else None


def rounds_folder(job_id: str) -> str:
    return f"{job_folder(job_id)}/rounds"


def round_path(job_id: str, round: int) -> str:
    """That a round was opened; the first needs no object."""
    return f"{rounds_folder(job_id)}/{_count(round)}.json"


def parse_round_path(path: str) -> int | None:
    found = _ROUND.fullmatch(path)
    return int(found[2]) if found else None


def lease_path(job_id: str) -> str:
    return f"{job_folder(job_id)}/lease.json"


def cancel_path(job_id: str) -> str:
    """A request to stop a job. It counts for the epoch that it names."""
    return f"{job_folder(job_id)}/cancel.json"


def board_path(job_id: str) -> str:
    return f"{job_folder(job_id)}/board.html"


def contact_sheet_path(job_id: str) -> str:
    return f"{job_folder(job_id)}/contact-sheet.png"


def trace_path(job_id: str) -> str:
    return f"{job_folder(job_id)}/trace.json"


def _take(show: str, shot_id: str, revision: str, take: int) -> str:
    _fits(NAME, show, "show")
    _fits(NAME, shot_id, "shot_id")
    _fits(_REVISION, revision, "revision")
    return f"{show}/{shot_id}/{revision}.take-{_count(take):03d}"


def _count(number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"not a number from 0 up: {number!r}")
    return number


def _fits(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{what} {text[:200]!r} does not match {pattern.pattern}")
    return text
