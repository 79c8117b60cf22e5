"""Draws the board: one HTML page with every take of a job, that asks nothing of the network.

The page works from a disk and from a bucket, because films and posters are linked relative to its own place,
`jobs/<job_id>/board.html`. Prompts and error messages come from strangers: everything is escaped by the template,
and the page's own content policy lets only its own script and style run.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

TO_STORE = "../../"
"""From the folder of the board to the root of the store."""
MOST_TAKES = 2000
"""A page of more cards is slow to search; the rest are counted, and are in the manifest."""
INLINE_POSTER_BYTES = 16_384
STATE_COLOURS = {"committed": "#57c785", "running": "#f2c14e", "quarantined": "#ff7b72", "pending": "#3a404c"}
ORDER = ("committed", "running", "pending", "quarantined", "skipped")
VERDICTS = ("approved", "rejected", "retake")


@dataclass(frozen=True)
class BoardTake:
    """One card.

    Attributes:
        state: pending, running, committed, quarantined, or skipped, because enough others of its shot have passed.
        encoded_prompt: what was encoded of it, where that is more than the prompt.
        parent: the row with variants that this one was made from.
        scene, camera, identity: what it shows, from where, and whom, as the catalog says.
        source_shot: the shot from whose take it started.
        picture_of: the shot whose picture it shares.
        media, poster, log: paths inside the store, or None.
        poster_jpeg: the poster itself; drawn inline when it is small, so that a page sent alone still shows pictures.
        gpu_s: GPU seconds that the take cost, all attempts together where that is known.
        message: what the last attempt died of, in a line or a few.
        replay: the command that renders this take again.
        verdict, note, who, when: what people said of it: approved, rejected or retake, why, and whose word it is.
        selected: whether it is the take of its shot that people chose.
    """

    shot_id: str
    take: int
    state: str
    show: str = "default"
    revision: str = ""
    task: str = "t2v"
    prompt: str = ""
    encoded_prompt: str | None = None
    parent: str | None = None
    scene: str | None = None
    camera: str | None = None
    identity: str | None = None
    source_shot: str | None = None
    picture_of: str | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    media: str | None = None
    poster: str | None = None
    poster_jpeg: bytes | None = None
    log: str | None = None
    gpu_s: float | None = None
    gang: int | None = None
    layout: str | None = None
    attempt: int | None = None
    error_class: str | None = None
    message: str | None = None
    replay: str | None = None
    verdict: str | None = None
    note: str | None = None
    who: str | None = None
    when: str | None = None
    selected: bool = False

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> BoardTake:
        """From a mapping that may have more keys than a card shows."""
        return cls(**{key: row[key] for key in cls.__dataclass_fields__ if row.get(key) is not None})


def board_html(
    job_id: str,
    takes: Iterable[BoardTake],
    *,
    state: str = "",
    gpu_s: float | None = None,
    money: Callable[[float], str] | None = None,
    refused: Sequence[Mapping[str, Any]] = (),
    links: Sequence[tuple[str, str]] = (),
    made: datetime | None = None,
) -> str:
    """The page as text.

    Args:
        takes: in the order in which to show them; of more than `MOST_TAKES` the quarantined ones are kept first.
        state: of the job, in a word.
        gpu_s: GPU seconds spent by the job; the sum over its takes if None.
        money: says what some GPU seconds cost ("0.12 USD"), None where no price is set.
        refused: rows of the catalog that were refused: row, column, value, legal.
        links: (label, href) beside the title; an href that is not http, https or relative is left out.
        made: when the facts were gathered, in UTC; now if None.
    """
    everything = list(takes)
    counts = Counter(take.state for take in everything)
    drawn = _most_wanted(everything)
    spent = sum(take.gpu_s or 0.0 for take in everything) if gpu_s is None else gpu_s
    totals = [{"label": name, "value": f"{counts[name]:,}"} for name in ORDER if counts[name]]
    totals.append({"label": "GPU seconds", "value": f"{spent:,.1f}"})
    if money is not None:
        totals.append({"label": "spent", "value": money(spent)})
    style, script = _asset("board.css"), _asset("board.js")
    return _template().render(
        job_id=job_id,
        state=state or "state unknown",
        made=made or datetime.now(UTC),
        totals=totals,
        bar=_bar(counts, len(everything)),
        states=[(name, counts[name]) for name in ORDER if counts[name]],
        verdicts=[(name, count) for name in VERDICTS if (count := sum(take.verdict == name for take in everything))],
        cards=[_card(take, money) for take in drawn],
        hidden_takes=len(everything) - len(drawn),
        refused=refused,
        links=[{"label": label, "href": href} for label, href in links if _is_safe_link(href)],
        style=Markup(style),
        script=Markup(script),
        style_hash=_digest(style),
        script_hash=_digest(script),
    )


def _most_wanted(takes: list[BoardTake]) -> list[BoardTake]:
    if len(takes) <= MOST_TAKES:
        return takes
    rank = {"quarantined": 0, "running": 1, "committed": 2}
    chosen = sorted(range(len(takes)), key=lambda i: (rank.get(takes[i].state, 3), i))[:MOST_TAKES]
    return [takes[i] for i in sorted(chosen)]


def _card(take: BoardTake, money: Callable[[float], str] | None) -> dict[str, Any]:
    values: list[tuple[str, str]] = []
    if take.seed is not None:
        values.append(("seed", str(take.seed)))
    if take.width and take.height:
        values.append(("size", f"{take.width}×{take.height}"))
    is_still = take.task == "still" or (take.media or "").endswith(".png")
    if take.frames and not is_still:
        values.append(("frames", f"{take.frames} at {take.fps:g} fps" if take.fps else str(take.frames)))
    values += [(label, value) for label, value in _kin(take) if value]
    if take.gpu_s is not None:
        values.append(("GPU s", f"{take.gpu_s:,.1f}"))
        if money is not None:
            values.append(("cost", money(take.gpu_s)))
    if take.gang and take.gang > 1:
        values.append(("gang", f"{take.gang} ({take.layout})" if take.layout else str(take.gang)))
    if take.attempt and take.attempt > 1:
        values.append(("attempt", str(take.attempt)))
    title = take.shot_id if take.show == "default" else f"{take.show} / {take.shot_id}"
    subtitle = f"take {take.take}" + (f" · {take.task}" if take.task != "t2v" else "")
    link = _inside_store(take.media)
    encoded = take.encoded_prompt if take.encoded_prompt != take.prompt else None
    text = (
        take.show, take.shot_id, f"take {take.take}", take.task, take.revision, take.prompt, str(take.seed or ""),
        encoded or "", *(value or "" for _, value in _kin(take)),
    )  # fmt: skip
    return {
        "anchor": f"{take.show}.{take.shot_id}.{take.revision}.take-{take.take:03d}",
        "state": take.state,
        "text": " ".join([*text, take.error_class or "", take.message or "", take.note or "", take.who or ""]),
        "verdict": take.verdict if take.verdict in VERDICTS else None,
        "selected": take.selected,
        "note": take.note,
        "said_by": ", ".join(part for part in (take.who, (take.when or "")[:16].replace("T", " ")) if part),
        "title": title,
        "subtitle": subtitle,
        "prompt": take.prompt,
        "encoded": encoded,
        "figures": values,
        "poster": _poster(take),
        "without_poster": {"committed": "no poster", "running": "rendering", "pending": "to come"}.get(
            take.state, "no film"
        ),
        "film": None if is_still else link,
        "link": link,
        "link_label": f"{'Open' if is_still else 'Play'} {title}, take {take.take}",
        "error_class": take.error_class,
        "message": take.message or "",
        "replay": take.replay,
        "log": _inside_store(take.log),
    }


def _kin(take: BoardTake) -> list[tuple[str, str | None]]:
    """What a take has to do with others, by label."""
    return [
        ("variant of", take.parent),
        ("scene", take.scene),
        ("camera", take.camera),
        ("identity", take.identity),
        ("starts from", take.source_shot),
        ("picture of", take.picture_of),
    ]


def _poster(take: BoardTake) -> str | None:
    if take.poster_jpeg is not None and len(take.poster_jpeg) <= INLINE_POSTER_BYTES:
        return "data:image/jpeg;base64," + base64.b64encode(take.poster_jpeg).decode("ascii")
    return _inside_store(take.poster)


def _inside_store(path: str | None) -> str | None:
    """A link from the board to an object of the same store; a path that leaves the store gets no link."""
    if not path or path.startswith("/") or ".." in path.split("/"):
        return None
    return TO_STORE + quote(path, safe="/")


def _is_safe_link(href: str) -> bool:
    scheme, colon, _ = href.partition(":")
    return not colon or "/" in scheme or scheme.lower() in ("http", "https")


def _bar(counts: Mapping[str, int], total: int) -> list[dict[str, Any]]:
    pieces, x = [], 0.0
    for name in ("committed", "running", "quarantined"):
        if counts.get(name):
            width = 100.0 * counts[name] / total
            pieces.append({"x": round(x, 3), "width": round(width, 3), "colour": STATE_COLOURS[name]})
            x += width
    return pieces


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("board.html.jinja")
