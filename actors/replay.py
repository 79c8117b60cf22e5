"""The command that renders one take again, alone, for whoever looks into why it failed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from catalogs.dependencies import FIRST
from catalogs.tasks import TASKS

OUT = "./replay"
FRAME = "frame.png"
_OPTIONS = {
    "negative_prompt": "--negative-prompt",
    "show": "--show",
    "task": "--task",
    "width": "--width",
    "height": "--height",
    "upscale": "--upscale",
    "seed": "--seed",
    "steps": "--steps",
    "guidance_scale": "--guidance-scale",
    "image_uri": "--image",
    "last_image_uri": "--last-image",
    "video_uri": "--video",
    "mask_uri": "--mask",
    "strength": "--strength",
    "keep_frames": "--keep-frames",
    "long_method": "--long-method",
}


def replay_command(order: Mapping[str, Any], model_folder: str, store_url: str) -> str:
    """``rushes render`` of the same picture (seed and settings) into a store of its own, quoted for a shell.

    A take that starts from another shot's is given that one's film, or the still that it is. Where it starts from one
    frame of a film, the command names a picture, and a comment behind it says of which film that has to be made.
    """
    words = ["rushes", "render", f"--prompt={order['prompt']}"]
    # "--option=value": a value that begins with a dash must not pass for an option.
    words += [f"{option}={order[name]}" for name, option in _OPTIONS.items() if order.get(name) is not None]
    if order.get("task") != "still" and order.get("fps"):
        words += [f"--fps={order['fps']:g}", f"--duration={order['frames'] / order['fps']:.6g}"]
    words += [f"--model={model_folder}", f"--out={OUT}"]
    source, note = _source(order, store_url)
    command = " ".join(map(shlex.quote, words + source))
    return f"{command}  # {' '.join(note.split())}" if note else command  # a line break would end the comment


def _source(order: Mapping[str, Any], store_url: str) -> tuple[list[str], str]:
    """The option for what stands in for the task's input, and a word on it; ([], "") where nothing does."""
    column = TASKS[order["task"]].source if order.get("source_shot") else None
    if column is None or order.get(column) is not None:
        return [], ""
    option, media = _OPTIONS[column], order.get("source_media")
    shown = (
        f"{store_url}/{media}" if media else f"a take of {order['show']}/{order['source_shot']}, which does not stand"
    )
    if media and (column == "video_uri" or not media.endswith(".mp4")):
        return [f"{option}={shown}"], ""
    if column == "video_uri":
        return [f"{option}=film.mp4"], f"film.mp4: {shown}"
    which = "first" if order.get("source_frame") == FIRST else "last"
    return [f"{option}={FRAME}"], f"{FRAME}: the {which} frame of {shown}"
