"""Fills in a model's defaults, fits shots to its grid, and refuses what it cannot do."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import grid, schema
from catalogs.aspects import with_aspects
from catalogs.checker import Checker
from catalogs.cost import take_gpu_s
from catalogs.dependencies import anchored, group_of
from catalogs.drafts import LANCZOS, Draft, drafted, sides_to_render, upscaled
from catalogs.keys import CHANGES_ONLY, documents
from catalogs.long import LongShots, cut_long, long_gpu_s
from catalogs.names import Names
from catalogs.refusal import Refusal
from catalogs.tasks import STRENGTHS, TASKS, parse_frames
from catalogs.uris import given_place
from catalogs.variants import first_of_picture
from catalogs.wording import Enhance, encoded


@dataclass(frozen=True)
class ResolvedShots:
    """Shots that a model can render.

    Attributes:
        columns: the shots' columns with every default filled in, and frames, render_width, render_height,
            render_frames, tokens, cost_gpu_s, encoded_prompt, picture_of; each (n,).
        folder: of the catalog, as a URI.
    """

    columns: dict[str, pa.Array]
    folder: str

    def slice(self, start: int, stop: int) -> ResolvedShots:
        """The shots start..stop."""
        return ResolvedShots({name: col.slice(start, stop - start) for name, col in self.columns.items()}, self.folder)

    def revision_documents(self, kinds: Mapping[str, str]) -> pa.Array:
        """The text that each shot's revision is the hash of, (n,)."""
        # LoRAs are always null until they are built.
        fields = {name: self.columns[name] for name in kinds if name in self.columns and name != "lora"}
        fields["prompt"] = pc.coalesce(self.columns["encoded_prompt"], fields["prompt"])
        waits = anchored(self.columns)
        if waits.any():
            group = pc.if_else(pa.array(waits), group_of(self.columns), None)
            fields["depends_on"] = pc.coalesce(fields["depends_on"], group)
        fields["fps"] = pc.if_else(pc.equal(fields["task"], "still"), None, fields["fps"])
        for name, tasks in CHANGES_ONLY.items():
            changes = pc.is_in(fields["task"], pa.array(tasks, pa.string()))
            fields[name] = pc.if_else(changes, fields[name], None)
        for name in schema.URIS:
            fields[name] = relative(fields[name], self.folder)
        return documents(fields, {}, kinds)


def relative(uris: pa.Array, folder: str) -> pa.Array:
    """URIs inside the catalog's folder as paths within it, so that a catalog may move with its inputs."""
    if uris.null_count == len(uris):
        return uris
    prefix = folder if folder.endswith("/") else folder + "/"
    inside = pc.starts_with(uris, prefix)
    return pc.if_else(inside, pc.utf8_slice_codeunits(uris, len(prefix)), uris)


def resolve(
    shots: pa.RecordBatch,
    facts: Mapping[str, Any],
    names: Names,
    enhance: Enhance | None = None,
    *,
    draft: Draft | None = None,
    upscaler: str = LANCZOS,
) -> tuple[ResolvedShots, list[Refusal]]:
    """The shots that the model can render, and a refusal for each that it cannot.

    Args:
        shots: good rows of a catalog, as `Batch.shots`.
        facts: of the model.
        names: that the shots of the batches before have taken.
        enhance: makes the prompts richer that are encoded.
        draft: how small and quick all shots are made, where they are a draft.
        upscaler: what brings films with `upscale` to their size.
    """
    asked = dict(zip(shots.schema.names, shots.columns, strict=True))
    checker = Checker(asked["row"].to_numpy())
    folder = (shots.schema.metadata or {}).get(schema.FOLDER_KEY, b"").decode()
    if draft is not None:  # what cannot be rendered in the end has no draft, and takes no name
        _fitted(asked, facts, checker, folder, None)
    fitted = _fitted(asked, facts, checker, folder, draft)
    names.refuse_repeated(checker, asked)
    columns, good, refused = fitted.columns, checker.good, checker.refusals()
    columns["model"] = columns["model"].fill_null(str(facts["name"]))
    for task, strength in STRENGTHS.items():
        unsaid = pc.and_(pc.equal(columns["task"], task), columns["strength"].is_null())
        columns["strength"] = pc.if_else(unsaid, strength, columns["strength"])
    columns |= {
        "frames": _int32(fitted.frames, good),
        "upscaler": upscaled(columns, fitted.sides, upscaler),
        "render_width": _int32(fitted.sides["width"], good),
        "render_height": _int32(fitted.sides["height"], good),
        "render_frames": _int32(fitted.cut.render_frames, good),
        "long_method": fitted.cut.method,
        "window_frames": fitted.cut.window_frames,
        "tokens": pa.array(fitted.tokens, pa.int64()),
        "cost_gpu_s": pa.array(fitted.cost, pa.float64()),
    }
    if refused:
        keep = pa.array(good)
        columns = {name: column.filter(keep) for name, column in columns.items()}
    columns["encoded_prompt"] = encoded(columns, enhance)
    copy = columns["picture_of"] = first_of_picture(columns)
    if copy.null_count < len(copy):
        columns["cost_gpu_s"] = pc.if_else(copy.is_valid(), 0.0, columns["cost_gpu_s"])
    return ResolvedShots(columns, folder), refused


def refuse_unfit(checker: Checker, shots: pa.RecordBatch, facts: Mapping[str, Any]) -> None:
    """Refuses the shots that the model cannot render, whoever has their names.

    Args:
        checker: of these shots.
        shots: good rows of a catalog, as `Batch.shots`.
        facts: of the model.
    """
    folder = (shots.schema.metadata or {}).get(schema.FOLDER_KEY, b"").decode()
    _fitted(dict(zip(shots.schema.names, shots.columns, strict=True)), facts, checker, folder, None)


class _Fitted(NamedTuple):
    """Shots on a model's grid, those that it cannot render among them; arrays are (n,).

    Attributes:
        columns: of the shots, with the model's defaults.
        sides: width and height as they are rendered.
        frames: of the films.
        cut: how long clips are cut.
        tokens: that the model sees at once.
        cost: GPU seconds of a take.
    """

    columns: dict[str, pa.Array]
    sides: dict[str, np.ndarray]
    frames: np.ndarray
    cut: LongShots
    tokens: np.ndarray
    cost: np.ndarray


def _fitted(
    asked: Mapping[str, pa.Array], facts: Mapping[str, Any], checker: Checker, folder: str, draft: Draft | None
) -> _Fitted:
    """Fits shots to the model's grid; refuses those that it cannot render."""
    columns = dict(asked)
    _check_task(checker, columns["task"], facts)
    for name in ("width", "height", "steps", "guidance_scale", "fps", "negative_prompt"):
        columns[name] = columns[name].fill_null(pa.scalar(facts[name], columns[name].type))
    duration = columns["duration_s"].fill_null(facts["frames"] / facts["fps"]).to_numpy()
    still = np.asarray(pc.equal(columns["task"], "still"))
    frames = np.where(still, 1, grid.film_frames(duration, columns["fps"].to_numpy()))
    columns |= with_aspects(columns, facts)
    once = pc.equal(columns["upscale"], 1.0).fill_null(False)
    columns["upscale"] = pc.if_else(once, pa.scalar(None, pa.float64()), columns["upscale"])
    if draft is not None:
        columns |= drafted(columns, facts, draft)
    sides = {name: grid.fit_side(side, facts) for name, side in sides_to_render(columns).items()}
    _check_sides(checker, asked, sides, facts)
    render_frames = grid.fit_frames(frames, facts)
    # A loop is rendered with one group of frames more, that shows its first frame again; the film ends before it.
    loop = np.asarray(pc.equal(columns["task"], "loop"))
    render_frames = np.where(loop, render_frames + facts["frame_stride"], render_frames)
    tokens = grid.tokens(sides["width"], sides["height"], render_frames, facts)
    cut = cut_long(columns, frames, render_frames, tokens, facts)
    render_frames, tokens = cut.render_frames, grid.tokens(sides["width"], sides["height"], cut.window, facts)
    _check_length(checker, asked["duration_s"], frames, cut.window, facts)
    _check_givens(checker, asked["duration_s"], columns, frames, facts)
    _check_tokens(checker, columns, sides, cut.window, tokens, facts)
    _check_model(checker, asked["model"], facts, folder)
    work = columns["steps"].to_numpy(), columns["guidance_scale"].to_numpy(), facts
    cost = take_gpu_s(tokens, *work)
    cost = np.where(loop, 2 * cost, cost)  # a loop is looked at twice in each step, from two places of its ring
    if cut.long.any():
        cost = np.where(cut.long, long_gpu_s(cut, sides["width"], sides["height"], *work), cost)
    return _Fitted(columns, sides, frames, cut, tokens, cost)


def _int32(values: np.ndarray, good: np.ndarray) -> pa.Array:
    # A refused row may hold a number of any size; it is filtered out next.
    return pa.array(np.where(good, values, 0), pa.int32())


def _check_task(checker: Checker, task: pa.Array, facts: Mapping[str, Any]) -> None:
    able = np.asarray(pc.is_in(task, pa.array(list(facts["tasks"]), pa.string())))
    checker.refuse("task", ~able, task, f"{', '.join(facts['tasks'])} with the model {facts['name']}")


def _check_sides(
    checker: Checker, asked: Mapping[str, pa.Array], sides: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> None:
    reshaped = np.asarray(pc.or_(asked["variant.aspect"].is_valid(), asked["upscale"].is_valid()))

    def legal(index: int) -> str:
        most = f"at most {facts['max_size']} with the model {facts['name']}"
        # What the row says is not what is rendered, and may itself be small enough.
        size = f"{sides['width'][index]}x{sides['height'][index]}"
        return f"{most}; with this aspect or upscale it is rendered at {size}" if reshaped[index] else most

    for name, side in sides.items():
        checker.refuse(name, side > facts["max_size"], asked[name], legal)


def _check_length(
    checker: Checker, duration: pa.Array, frames: np.ndarray, render_frames: np.ndarray, facts: Mapping[str, Any]
) -> None:
    def legal(index: int) -> str:
        return f"at most {facts['max_frames']} frames with the model {facts['name']}; this is {frames[index]}"

    # A row's own were looked at before; a variant's length, or a model's rate, may come to more.
    most = schema.FRAMES_MAX
    checker.refuse(
        "duration_s", frames > most, duration, lambda index: f"at most {most:,} frames; this is {frames[index]:,}"
    )
    checker.refuse("duration_s", render_frames > facts["max_frames"], duration, legal)


def _check_givens(
    checker: Checker, duration: pa.Array, columns: Mapping[str, pa.Array], frames: np.ndarray, facts: Mapping[str, Any]
) -> None:
    """Refuses clips so short that nothing would be left to make, and kept frames that lie outside of their clip."""
    encoded = columns["task"].dictionary_encode()
    tasks = encoded.dictionary.to_pylist()
    least = np.array([TASKS[task].least_frames(facts["frame_stride"]) for task in tasks] or [1])
    least = least[encoded.indices.to_numpy()]

    def long_enough(index: int) -> str:
        return f"at least {least[index]} frames for this task; this is {frames[index]}"

    checker.refuse("duration_s", frames < least, duration, long_enough)
    keep = columns["keep_frames"]
    outside = np.zeros(len(frames), bool)
    for index in np.nonzero(np.asarray(keep.is_valid()))[0].tolist():
        outside[index] = parse_frames(keep[index].as_py())[-1][1] >= frames[index]
    checker.refuse("keep_frames", outside, keep, lambda index: f"frames of this clip: 0 to {frames[index] - 1}")


def _check_tokens(
    checker: Checker,
    columns: Mapping[str, pa.Array],
    sides: Mapping[str, np.ndarray],
    render_frames: np.ndarray,
    tokens: np.ndarray,
    facts: Mapping[str, Any],
) -> None:
    def legal(index: int) -> str:
        clip = f"{sides['width'][index]}x{sides['height'][index]}, {render_frames[index]} frames"
        return (
            f"a smaller or shorter clip: {clip} are {tokens[index]:,} tokens,"
            f" and the model {facts['name']} takes at most {facts['max_tokens']:,}"
        )

    checker.refuse("width", tokens > facts["max_tokens"], columns["width"], legal)


def _check_model(checker: Checker, model: pa.Array, facts: Mapping[str, Any], folder: str) -> None:
    own = _location(str(facts["folder"]), folder)
    names = [schema.DEFAULT_MODEL, str(facts["name"])]
    names += [text for text in model.unique().drop_null().to_pylist() if _location(text, folder) == own]
    other = np.asarray(model.is_valid()) & ~np.asarray(pc.is_in(model, pa.array(names)))
    legal = f"null, {facts['name']!r} or its folder: a job renders with one model, the one it is given"
    checker.refuse("model", other, model, legal)


def _location(model: str, folder: str) -> str:
    """One spelling for all of a model's folder: links followed, a relative path inside the catalog's folder."""
    try:
        path = os.path.expanduser(model)
        if "://" in path or path.startswith("/"):
            place = given_place(path)
        else:
            catalog = given_place(folder)
            place = catalog._replace(path=posixpath.normpath(posixpath.join(catalog.path, path)))
        return os.path.realpath(place.path) if place.root == "file://" else place.uri().rstrip("/")
    except ValueError:  # no place that inputs may come from: a model's may be another, as it is written
        return model.rstrip("/")
