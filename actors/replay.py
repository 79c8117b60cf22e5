"""The command that renders one take again, alone, for whoever looks into why it failed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

OUT = "./replay"
_OPTIONS = {
    "negative_prompt": "--negative-prompt",
    "show": "--show",
    "task": "--task",
    "width": "--width",
    "height": "--height",
    "seed": "--seed",
    "steps": "--steps",
    "guidance_scale": "--guidance-scale",
    "image_uri": "--image",
}


def replay_command(order: Mapping[str, Any], model_folder: str) -> str:
    """``rushes render`` of the same picture (seed and settings) into a store of its own, quoted for a shell."""
    words = ["rushes", "render", f"--prompt={order['prompt']}"]
    # "--option=value": a value that begins with a dash must not pass for an option.
    words += [f"{option}={order[name]}" for name, option in _OPTIONS.items() if order.get(name) is not None]
    if order.get("task") != "still" and order.get("fps"):
        words += [f"--fps={order['fps']:g}", f"--duration={order['frames'] / order['fps']:.6g}"]
    words += [f"--model={model_folder}", f"--out={OUT}"]
    return " ".join(map(shlex.quote, words))
