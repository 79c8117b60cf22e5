"""The pictures of a deliverable as one graph of ffmpeg's filters, and the options of its encoder."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import ffmpeg as graph

from infra.deliver.cards import fitted
from infra.deliver.drawing import Text, caption_texts, clock_texts, note_text, slate_text, write_ass
from infra.deliver.profiles import Video
from infra.deliver.reframe import MOVED, Window, follow, track
from infra.deliver.work import Job, Shape
from infra.media.upscale import LANCZOS

_LIMITED: Final = {
    "rangein": "limited", "matrixin": "709", "primariesin": "709", "transferin": "709", "range": "limited",
    "matrix": "709", "primaries": "709", "transfer": "709", "chromal": "left",
}  # fmt: skip
_TAGS: Final = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
_RGB: Final = {"rgb24": "gbrp", "rgb48be": "gbrp16le"}
_INTERPOLATED_TAIL: Final = 4  # frames held at the end, so that motion interpolation reaches the last one
_NO_CUT: Final = 1_000_000_000


class Drawn:
    """What is drawn into the picture or decided about it, in files of one folder."""

    def __init__(self, job: Job, shape: Shape, folder: Path) -> None:
        self.job, self.shape, self._folder = job, shape, folder
        self.window = job.window or self._window()
        self.font = folder / "fonts" / "font.ttf"
        self.ass: Path | None = None
        if texts := self._texts():
            self.font.parent.mkdir(exist_ok=True)
            self.font.write_bytes(job.font.data)
            self.ass = folder / "text.ass"
            width, height = shape.size
            write_ass(self.ass, texts, width=width, height=height, rate=shape.rate, font=job.font)

    def _window(self) -> Window | None:
        profile, film = self.job.profile, self.job.source.film
        if profile.frame.fit == "contain":
            return None
        source, shape = self.job.source, self.shape
        boxes, cuts = None, source.cuts
        if profile.frame.fit == "follow":
            boxes = track(source.path, film.frames, cuts, self._folder, self.job.tools, film.fps, cards=source.cards)
        if boxes is not None and shape.rate != film.fps:
            boxes = _resampled(boxes, shape.programme, film.fps / shape.rate)
            cuts = [round(cut * shape.rate / film.fps) for cut in cuts]
        size = film.width, film.height
        window = follow(boxes, shape.programme, shape.rate, source=size, size=shape.size, cuts=cuts)
        smaller = fitted(
            source.path, source.titles, scaled=window.scaled, size=window.size, rate=film.fps, new=shape.rate,
            folder=self._folder, tools=self.job.tools,
        )  # fmt: skip
        return replace(window, smaller=smaller)

    def _texts(self) -> list[Text]:
        job, shape, fields = self.job, self.shape, self.job.source.fields
        texts: list[Text] = []
        if job.profile.burns and job.captions:
            captions = job.captions[0]
            job.font.check(captions.text(), captions.name)
            texts += caption_texts(captions, shape.rate, shift=shape.head, frames=shape.programme)
        if slate := next((band for band in job.profile.head if band.kind == "slate"), None):
            told = slate_fields(job, shape)
            job.font.check(" ".join(value for _, value in told), "the slate")
            texts.append(slate_text(told, slate.length(shape.rate)))
            if slate.clock:
                texts += clock_texts(shape.head, slate.length(shape.rate), shape.rate)
        if job.profile.burn_in:
            parts = [f"{fields[name]}" for name in ("show", "shot_id", "cut") if fields.get(name) is not None]
            parts += [f"{name} {fields[name]}" for name in ("take", "seed") if fields.get(name) is not None]
            texts.append(note_text("  ".join(parts)))
        return texts

    def cards(self, start: int, end: int) -> list[tuple[int, int]]:
        """Frames of title cards that are shown smaller, within these frames and counted from `start`."""
        smaller = None if self.window is None else self.window.smaller
        return [] if smaller is None else smaller.inside(start, end)

    def commands(self, start: int, end: int) -> Path | None:
        """The file that moves the window in these frames; None where it stands still."""
        if self.window is None:
            return None
        lines = self.window.commands(self.shape.rate, start, end)
        if not lines.strip():
            return None
        path = self._folder / f"window-{start:08d}.txt"
        path.write_text(lines, encoding="ascii")
        return path


def slate_fields(job: Job, shape: Shape) -> list[tuple[str, str]]:
    """What a slate tells: the programme's title, what it is, how long it is and of which day."""
    fields = job.source.fields
    title = next((str(fields[name]) for name in ("title", "cut", "show") if fields.get(name)), "")
    names = ("show", "shot_id", "cut", "take", "locale")
    known = [(name, str(fields[name])) for name in names if fields.get(name) and str(fields[name]) != title]
    width, height = shape.size
    return [
        ("title", title),
        *known,
        ("duration", f"{float(shape.programme / shape.rate):.2f} s, {shape.programme} frames"),
        ("date", str(fields.get("date") or "")),
        ("format", f"{width}x{height} {float(shape.rate):.5g} fps"),
    ]


def pictures(drawn: Drawn, *, chunk: tuple[int, int] | None = None, source: Path | None = None) -> Any:
    """The graph from the source's pictures to the deliverable's, in its pixel format.

    chunk: only these frames of the source (end not included), which are then counted from 0.
    source: another file of the same frames, such as a scaled one.
    """
    job, shape = drawn.job, drawn.shape
    film, video = job.source.film, job.profile.video
    start, end = chunk or (0, shape.programme)
    options = {"ss": f"{float((Fraction(start) - Fraction(1, 2)) / film.fps):.6f}"} if start else {}
    stream = graph.input(f"file:{source or job.source.path}", **options).video
    if chunk is not None:
        stream = stream.filter("trim", end_frame=end - start)
    stream = counted(stream, film.fps)
    if shape.rate != film.fps:
        stream = _interpolated(stream, shape)
    stream = _sized(stream, drawn, start, end)
    if shape.frames != shape.programme:
        stream = _padded(stream, shape)
    if drawn.ass is not None:
        if start:  # a chunk's own clock begins at 0, the text's at the film's first frame
            stream = stream.filter("setpts", f"N+{start}")
        stream = stream.filter("ass", filename=str(drawn.ass), fontsdir=str(drawn.font.parent))
        if start:
            stream = stream.filter("setpts", "N")
    if job.profile.burn_in:
        stream = _frame_number(stream, drawn, start)
    return _formatted(stream, video) if video is not None else stream


def encoder_options(encoder: str, video: Video, rate: Fraction) -> dict[str, Any]:
    """Options of an output: encoder, pixel format, grid of key frames, tags; the profile's own come last."""
    options: dict[str, Any] = {"c:v": encoder, "fps_mode": "passthrough", "enc_time_base": ratio(1 / rate)}
    options |= {"map_metadata": -1, "fflags": "+bitexact"}
    # Broadcast's MPEG-2 has open groups: closed ones of two B-frames each would be shorter than the grid.
    options["flags:v"] = "+bitexact" if encoder == "mpeg2video" else "+cgop+bitexact"
    gop = video.gop(rate)
    if gop is not None:
        options |= {"g": gop} | _grid(encoder, gop)
    if video.pix_fmt not in _RGB:
        options |= _TAGS
    return options | video.options


def _grid(encoder: str, gop: int) -> dict[str, Any]:
    """Closed groups of exactly this length, and no key frame at a cut: each encoder says it in its own way."""
    if encoder == "libx265":
        words = f"log-level=error:keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
        return {"x265-params": words}
    if encoder == "libsvtav1":
        return {"svtav1-params": "scd=0", "preset": 8}
    if encoder == "libaom-av1":
        return {"keyint_min": gop, "cpu-used": 6, "row-mt": 1, "b:v": 0}
    if encoder == "libx264":
        return {"keyint_min": gop, "sc_threshold": 0}
    if encoder == "mpeg2video":
        return {"sc_threshold": _NO_CUT, "b_strategy": 0}
    return {}


def ratio(value: Fraction) -> str:
    """For ffmpeg: 24000/1001."""
    return f"{value.numerator}/{value.denominator}"


def counted(stream: Any, rate: Fraction) -> Any:
    """Frame n stands at tick n of a clock of this rate: whatever the container's clock was, nothing is rounded."""
    return stream.filter("settb", ratio(1 / rate)).filter("setpts", "N").filter("fps", ratio(rate))


def _interpolated(stream: Any, shape: Shape) -> Any:
    held = stream.filter("tpad", stop=_INTERPOLATED_TAIL, stop_mode="clone")
    moved = held.filter("minterpolate", fps=ratio(shape.rate), mi_mode="mci", mc_mode="aobmc", me_mode="bidir", vsbmc=1)
    return counted(moved.filter("trim", end_frame=shape.programme), shape.rate)


def _sized(stream: Any, drawn: Drawn, start: int, end: int) -> Any:
    film, (width, height) = drawn.job.source.film, drawn.shape.size
    shape = drawn.shape
    if upscaled(drawn.job, drawn.shape):  # done before: what comes in has the size already
        return stream.filter("setsar", "1")
    cards, whole = drawn.cards(start, end), stream
    if cards:
        both = stream.filter_multi_output("split", 2)
        stream, whole = both[0], both[1]
    inner = inner_size((film.width, film.height), (width, height))
    if drawn.window is not None:
        inner = drawn.window.scaled
    if inner != (film.width, film.height):
        stream = _scaled(stream, inner)
    if drawn.window is not None:
        if (commands := drawn.commands(start, end)) is not None:
            stream = stream.filter("sendcmd", filename=str(commands))
        x, y = drawn.window.corners[min(start, len(drawn.window.corners) - 1)].tolist()
        stream = stream.filter(MOVED, width, height, x, y, exact=1)
    elif inner != (width, height):
        stream = stream.filter("pad", width, height, "(ow-iw)/2", "(oh-ih)/2", color="black")
    stream = stream.filter("setsar", "1")
    if cards and drawn.window is not None and (smaller := drawn.window.smaller) is not None:
        over = smaller.filtered(_scaled(whole, smaller.scaled)).filter("setsar", "1")
        shown = "+".join(f"between(n,{low},{high - 1})" for low, high in cards)
        stream = counted(graph.filter([stream, over], "overlay", 0, 0, enable=shown), shape.rate)
    return stream


def _scaled(stream: Any, size: tuple[int, int]) -> Any:
    return stream.filter("zscale", w=size[0], h=size[1], filter="lanczos", dither="ordered", **_LIMITED)


def _padded(stream: Any, shape: Shape) -> Any:
    """Head and tail. One tpad for both: the times of a second one would not know of the first's frames."""
    stream = stream.filter(
        "tpad", start=shape.head, start_mode="add", stop=shape.freeze + shape.black, stop_mode="clone", color="black"
    )
    if shape.black:
        first = shape.frames - shape.black
        stream = stream.filter("drawbox", t="fill", color="black", enable=f"gte(n,{first})")
    # Frames that tpad makes are tagged as nothing, and an encoder believes the first one.
    return stream.filter(
        "setparams", range="limited", color_primaries="bt709", color_trc="bt709", colorspace="bt709"
    )  # fmt: skip


def inner_size(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The largest even size of the source's aspect that fits into `size`."""
    scale = min(full / side for full, side in zip(size, source, strict=True))
    width, height = (min(full, 2 * round(side * scale / 2)) for full, side in zip(size, source, strict=True))
    return width, height


def upscaled(job: Job, shape: Shape) -> bool:
    """Whether the function of the settings makes this film larger, before the graph."""
    return job.scaler != LANCZOS and max(shape.size) > max(job.source.size)


def _frame_number(stream: Any, drawn: Drawn, start: int) -> Any:
    width, height = drawn.shape.size
    size = max(8, round(min(width, height) * 0.055 * 2 / 3))
    drawn.font.parent.mkdir(exist_ok=True)
    if not drawn.font.exists():
        drawn.font.write_bytes(drawn.job.font.data)
    return stream.filter(
        "drawtext", fontfile=str(drawn.font), text="%{frame_num}", start_number=start, fontsize=size, fontcolor="white",
        borderw=max(1, size // 12), x=f"w-tw-{size // 2}", y=size // 2,
    )  # fmt: skip


def _formatted(stream: Any, video: Video) -> Any:
    if (planes := _RGB.get(video.pix_fmt)) is not None:
        wanted = _LIMITED | {"range": "full", "matrix": "gbr"}
        return stream.filter("zscale", dither="ordered", **wanted).filter("format", planes).filter(
            "format", video.pix_fmt
        )  # fmt: skip
    if video.pix_fmt != "yuv420p":
        stream = stream.filter("zscale", filter="bicubic", dither="ordered", **_LIMITED)
    return stream.filter("format", video.pix_fmt)


def _resampled(boxes: Any, frames: int, step: Fraction) -> Any:
    """Boxes of other frames in time: frame n of the new film shows frame n · step of the old one."""
    import numpy as np

    at = np.arange(frames) * float(step)
    own = np.arange(len(boxes))
    return np.stack([np.interp(at, own, boxes[:, side]) for side in range(4)], axis=1)
