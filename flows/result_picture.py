"""A job's figures as one small picture: where the GPU seconds went, what became of its takes, estimates and truth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from flows.costs import JobCosts

WIDTH, HEIGHT = 720, 400
_GROUND, _INK, _DIM, _LINE = (24, 24, 27), (228, 228, 231), (161, 161, 170), (63, 63, 70)
_GREEN, _YELLOW, _RED, _BLUE, _GREY = (87, 197, 133), (242, 193, 78), (255, 123, 114), (96, 165, 250), (82, 82, 91)
_LEFT, _RIGHT = 20, WIDTH - 20
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Part = tuple[str, float, tuple[int, int, int]]


def result_png(costs: JobCosts) -> bytes:
    """The picture, 720x400, as PNG. It holds no word of a catalog."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), _GROUND)
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(20), ImageFont.load_default(12)
    _headline(draw, costs, large, small)
    seconds: list[Part] = [
        ("rendered", costs.rendered, _GREEN), ("failed", costs.failed, _RED), ("duplicate", costs.duplicate, _YELLOW),
        ("cached", costs.cached, _GREY),
    ]  # fmt: skip
    _bar(draw, 84, f"GPU seconds: {costs.all_in:,.1f}", seconds, small, "{:,.1f}")
    said, counts = costs.verdicts, costs.takes
    takes: list[Part] = [
        ("pass", said.get("pass", 0), _GREEN), ("retry", said.get("retry", 0), _YELLOW),
        ("escalate", said.get("escalate", 0), _BLUE), ("not judged", said.get("unknown", 0), _DIM),
        ("quarantined", counts.get("quarantined", 0), _RED), ("not needed", counts.get("skipped", 0), _GREY),
        ("pending", counts.get("pending", 0), _LINE),
    ]  # fmt: skip
    _bar(draw, 150, f"Takes: {counts.get('total', 0):,}", takes, small, "{:,.0f}")
    _estimates(draw, costs, small)
    _reasons(draw, costs, small)
    out = io.BytesIO()
    picture.quantize(32).save(out, "PNG", optimize=True)
    return out.getvalue()


def _headline(draw: ImageDraw.ImageDraw, costs: JobCosts, large: Font, small: Font) -> None:
    figures = [
        (_figure(costs.per_delivered_s), "GPU s per delivered second"),
        (_figure(costs.per_used_s), f"per used second ({_by(costs)})"),
        (_percent(costs.keep_rate), "keep rate"),
        (_percent(costs.pass_rate), "passed"),
        (_percent(costs.cached_share), "cached"),
    ]
    places = (_LEFT, 200, 430, 530, 620)
    for left, (value, label) in zip(places, figures, strict=True):
        draw.text((left, 14), value, fill=_INK, font=large)
        draw.text((left, 42), label, fill=_DIM, font=small)


def _bar(draw: ImageDraw.ImageDraw, top: int, title: str, parts: Sequence[Part], font: Font, form: str) -> None:
    draw.text((_LEFT, top), title, fill=_INK, font=font)
    whole = sum(value for _, value, _ in parts)
    draw.rectangle((_LEFT, top + 18, _RIGHT, top + 36), fill=_LINE)
    at = float(_LEFT)
    for _, value, colour in parts:
        if whole and value > 0:
            end = at + (_RIGHT - _LEFT) * value / whole
            draw.rectangle((round(at), top + 18, max(round(at), round(end) - 1), top + 36), fill=colour)
            at = end
    left = _LEFT
    for name, value, colour in parts:
        if value <= 0:
            continue
        label = f"{name} {form.format(value)}"
        draw.rectangle((left, top + 44, left + 8, top + 52), fill=colour)
        draw.text((left + 13, top + 41), label, fill=_DIM, font=font)
        left += 13 + round(draw.textlength(label, font=font)) + 16


def _estimates(draw: ImageDraw.ImageDraw, costs: JobCosts, font: Font) -> None:
    """Estimated time left over time, and the truth as a line."""
    left, top, right, bottom = _LEFT, 246, 420, 376
    error = f", {_percent(costs.eta_error)} off on average" if costs.eta_error is not None else ""
    draw.text((left, top - 20), f"Time left, as estimated{error}", fill=_INK, font=font)
    draw.rectangle((left, top, right, bottom), outline=_LINE)
    known = costs.estimates
    if not known:
        draw.text((left + 10, top + 10), "no estimate was made: the job was too short", fill=_DIM, font=font)
        return
    end = max(e.at_s + (e.truth_s or 0.0) for e in known) or 1.0
    most = max(max(e.eta_s, e.truth_s or 0.0) for e in known) or 1.0

    def place(at: float, value: float) -> tuple[float, float]:
        return left + (right - left) * at / end, bottom - (bottom - top) * value / most

    truth = [place(e.at_s, e.truth_s) for e in known if e.truth_s is not None]
    if len(truth) > 1:
        draw.line(truth, fill=_DIM, width=2)
    said = [place(e.at_s, e.eta_s) for e in known]
    if len(said) > 1:
        draw.line(said, fill=_BLUE, width=2)
    for x, y in said:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=_BLUE)
    draw.text((right - 60, top + 4), f"{most:,.0f} s", fill=_DIM, font=font)
    draw.text((right - 60, bottom + 4), f"{end:,.0f} s", fill=_DIM, font=font)
    draw.text((left + 4, bottom + 4), "blue: said, grey: true", fill=_DIM, font=font)


def _reasons(draw: ImageDraw.ImageDraw, costs: JobCosts, font: Font) -> None:
    left, top = 450, 226
    rows = [("retry: " + name, number, _YELLOW) for name, number in costs.retries.items()]
    rows += [("quarantined: " + name, number, _RED) for name, number in costs.quarantines.items()]
    rows += [("again: " + name, number, _BLUE) for name, number in costs.attempts.items()]
    draw.text((left, top), "Retries and quarantines", fill=_INK, font=font)
    if not rows:
        draw.text((left, top + 22), "none", fill=_DIM, font=font)
        return
    most = max(number for _, number, _ in rows)
    for row, (name, number, colour) in enumerate(sorted(rows, key=lambda row: -row[1])[:7]):
        y = top + 22 + row * 20
        draw.text((left, y), name[:24], fill=_DIM, font=font)
        draw.rectangle((left + 150, y + 3, left + 150 + round(70 * number / most), y + 12), fill=colour)
        draw.text((left + 228, y), f"{number:,}", fill=_INK, font=font)


def _by(costs: JobCosts) -> str:
    return {"people": "selected", "cut": "in a cut", "nobody": "nothing is used"}[costs.used_by]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
