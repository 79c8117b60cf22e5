"""What `plan` and `render` are asked for, checked before anything is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer


@dataclass(frozen=True)
class Request:
    """One `rushes plan` or `rushes render`.

    Attributes:
        catalog: path or URL of a catalog, or None with `shot`.
        out: the store.
        shot: the one row that stands for a catalog, with the catalog's column names.
        job: name that the user gave to the job.
        model: name, folder or URL; None for the default.
        allow: prefixes that inputs may come from, besides the catalog's folder.
        address: Ray cluster to join.
        config: settings file.
        enhance: what makes prompts richer, `rules` or `module:function`.
        preset: of the catalog's rows that name none; a shot has its own in `shot`.
        draft: takes to choose from, small and in few steps.
    """

    catalog: str | None
    out: str
    shot: Mapping[str, Any] | None = None
    job: str | None = None
    model: str | None = None
    allow: tuple[str, ...] = ()
    strict: bool = False
    gang: int | None = None
    gangs: int | None = None
    layout: str | None = None
    budget: float | None = None
    address: str | None = None
    config: str | None = None
    enhance: str | None = None
    preset: str | None = None
    draft: bool = False

    def __post_init__(self) -> None:
        if (self.catalog is None) == (self.shot is None):
            both = self.catalog is not None
            raise typer.BadParameter(
                "CATALOG and --prompt exclude each other." if both else "Missing: CATALOG, or --prompt for one shot."
            )
        if self.layout is not None:
            size = layout_size(self.layout)
            if self.gang is not None and self.gang != size:
                raise typer.BadParameter(f"--layout {self.layout} is a gang of {size}, not of --gang {self.gang}.")
        if self.address is not None and self.address.startswith("ray://"):
            raise typer.BadParameter("--address ray:// is Ray Client, too slow for films: give host:port, or auto.")
        if not self.out.strip():
            raise typer.BadParameter("--out is empty.")


def layout_size(layout: str) -> int:
    """Ranks of a layout such as `cfg=2,ulysses=2,ring=2`, or `single`; raises BadParameter for any other words."""
    from infra import settings_places

    try:
        return settings_places.layout_size(layout)
    except ValueError as error:
        raise typer.BadParameter(f"--layout {error}.") from error


def shot_of(
    prompt: str | None, inputs: Mapping[str, str | None], options: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The row for `--prompt`, and the prefixes that its inputs add to `--allow`.

    Args:
        inputs: column -> path or URL of a picture or film. A first frame alone makes the task i2v, a first and a last
            one flf2v, unless the options name a task.
        options: the other columns; None values are left to their defaults.

    Raises:
        typer.BadParameter: options of a shot without a prompt.
    """
    columns = {column: value for column, value in options.items() if value is not None}
    files = {column: value for column, value in inputs.items() if value is not None}
    if prompt is None:
        if columns or files:
            flags = [f"--{name.removesuffix('_uri').replace('_', '-')}" for name in (*columns, *files)]
            raise typer.BadParameter(f"{', '.join(sorted(flags))}: only with --prompt; in a catalog they are columns.")
        return None, ()
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
    shot: dict[str, Any] = {"shot_id": f"prompt-{digest[:8]}", "prompt": prompt, **columns}
    if "duration" in shot:
        shot["duration_s"] = shot.pop("duration")
    implied = {frozenset({"image_uri"}): "i2v", frozenset({"image_uri", "last_image_uri"}): "flf2v"}
    if task := implied.get(frozenset(files)):
        shot.setdefault("task", task)
    places = {
        column: value if "://" in value else str(Path(value).expanduser().resolve()) for column, value in files.items()
    }
    return shot | places, tuple(places.values())


def shot_bytes(shot: Mapping[str, Any]) -> bytes:
    """The catalog that a shot stands for, as one line of JSON; equal shots give equal bytes."""
    line = json.dumps(shot, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        return f"{line}\n".encode()
    except UnicodeEncodeError:  # words of the command line that are not UTF-8: escaped, and a refused row like others
        return (json.dumps(shot, sort_keys=True, separators=(",", ":")) + "\n").encode()
