"""What a plan needs to know of a model, read from its JSON files: no torch, no diffusers, no weights in memory.

A folder may hold `rushes.json` with its own defaults; its keys are those of `OWN_KEYS`. Otherwise the numbers of
Wan's official releases are taken for the kind of checkpoint that the folder holds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.cache import absolute, folder_digest, localise
from model.errors import ModelError
from model.folder import PipelineFolder, read_json
from model.long.choose import long_facts

PICTURE_VERSION = 3
"""Raised only when the same take would come out as another picture."""

DEFAULT_FOLDER = Path(__file__).parent / "default"
OWN_DEFAULTS = "rushes.json"
# Key of rushes.json -> types that its value may have.
OWN_KEYS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "width": (int,),
    "height": (int,),
    "frames": (int,),
    "fps": (int, float),
    "steps": (int,),
    "guidance_scale": (int, float),
    "guidance_scale_2": (int, float),
    "negative_prompt": (str,),
    "min_size": (int,),
    "max_size": (int,),
    "max_frames": (int,),
    "max_tokens": (int,),
    "precision": (dict,),
    "gpu_s_per_tflop": (int, float),
    "notes": (str,),
}
PRECISION_PARTS = ("transformer", "autoencoder", "text_encoder")
DTYPES = ("float32", "bfloat16", "float16")
# Above so many parameters the weights are bf16 by default, as everybody runs them; below, fp32 costs little.
_LARGE = 1_000_000_000
_SMALL_PRECISION = {"transformer": "float32", "autoencoder": "bfloat16", "text_encoder": "float32"}
_LARGE_PRECISION = {"transformer": "bfloat16", "autoencoder": "float32", "text_encoder": "bfloat16"}
# Seconds for 10^12 operations: an H100 as Wan's own published times have it, and one core of a CPU in fp32.
_LARGE_SPEED, _SMALL_SPEED = 0.003, 20.0


def read_facts(
    model: str | os.PathLike[str] = "default",
    *,
    registry: Mapping[str, str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Facts of a model: its grid, limits, defaults, size, precision and digest.

    Args:
        model: a name of the registry, "default", a path, or an fsspec URL of a pipeline folder (fetched to the cache).
        registry: name -> folder or URL; "default" is the shipped model unless it stands here.
        storage_options: for the file system of a URL.
        cache: folder for fetched models and remembered digests; the user's cache otherwise.

    Returns:
        name, folder (absolute path or URL), digest; tasks; width, height, frames, fps, steps, guidance_scale,
        negative_prompt (defaults), guidance_scale_2 where there are two experts; grid (width and height are multiples
        of it), frame_stride (frames are a multiple of it plus one), spatial_stride, patch; min_size, max_size (pixels
        of a side), max_frames, max_tokens; layers, model_width, ffn_dim, parameters; sampler; precision;
        picture_version; gpu_s_per_tflop; long (see `model.long.long_facts`).

    Raises:
        ModelError: no such model, or not a Wan pipeline folder; the message lists what was found.
    """
    given = os.fspath(model)
    location = resolve(given, registry)
    local = localise(location, storage_options=storage_options, cache=cache)
    folder = PipelineFolder.open(local)
    facts = official_facts(folder)
    own = _own_defaults(local)
    precision = {**facts["precision"], **own.pop("precision", {})}
    facts |= own
    facts |= {
        "name": own.get("name") or (Path(location).name if given == location else given),
        "folder": location,
        "digest": folder_digest(local, folder.components, cache=cache),
        "precision": precision,
        "picture_version": PICTURE_VERSION,
        "long": long_facts(facts["frames"], facts["frame_stride"]),
    }
    _check_grid(facts, local)
    return facts


def resolve(model: str, registry: Mapping[str, str] | None = None) -> str:
    """Absolute path or URL for a registry name, "default", a path or a URL; raises ModelError for an unknown name."""
    known = {"default": str(DEFAULT_FOLDER), **(registry or {})}
    if model in known:
        return absolute(known[model])
    looks_like_path = "://" in model or os.sep in model or "/" in model or model.startswith((".", "~"))
    if looks_like_path or Path(model).is_dir():
        return absolute(model)
    raise ModelError(f"no model is called {model!r} and no folder has that name. Known: {', '.join(sorted(known))}")


def official_facts(folder: PipelineFolder) -> dict[str, Any]:
    """Facts that the configuration of a checkpoint gives, with the numbers of the official release of its kind."""
    config = folder.transformer
    heads, head_dim = int(config.get("num_attention_heads", 40)), int(config.get("attention_head_dim", 128))
    width, layers, ffn = heads * head_dim, int(config.get("num_layers", 40)), int(config.get("ffn_dim", 13824))
    parameters = len(folder.experts) * layers * (8 * width * width + 2 * width * ffn)
    large = parameters > _LARGE
    defaults = _official_defaults(folder)
    grid = folder.spatial_stride * max(folder.patch[1:])
    longest = max(defaults["width"], defaults["height"])
    rope = int(config.get("rope_max_seq_len", 1024))
    tokens = clip_tokens(folder, defaults["width"], defaults["height"], defaults["frames"])
    return {
        **defaults,
        "tasks": list(tasks_of(folder)),
        "negative_prompt": "",
        "grid": grid,
        "frame_stride": folder.frame_stride,
        "spatial_stride": folder.spatial_stride,
        "patch": list(folder.patch),
        "min_size": 2 * grid,
        "max_size": min(2 * longest, rope * grid) // grid * grid,
        "max_frames": min(4 * (defaults["frames"] - 1), (rope * folder.patch[0] - 1) * folder.frame_stride) + 1,
        "max_tokens": 4 * tokens,
        "layers": layers,
        "model_width": width,
        "ffn_dim": ffn,
        "parameters": parameters,
        "sampler": describe_sampler(folder.scheduler),
        "precision": dict(_LARGE_PRECISION if large else _SMALL_PRECISION),
        "gpu_s_per_tflop": _LARGE_SPEED if large else _SMALL_SPEED,
    }


TASKS = ("t2v", "still", "i2v", "flf2v", "extend", "extend_back", "connect", "infill", "loop", "v2v", "edit")
CHANNEL_TASKS = ("i2v", "flf2v", "extend", "extend_back", "connect", "infill", "edit")
"""Tasks of a checkpoint with condition channels: it never learnt to do without pixels that stay as they are."""


def tasks_of(folder: PipelineFolder) -> tuple[str, ...]:
    """Tasks that the checkpoint can do."""
    return CHANNEL_TASKS if folder.condition_channels else TASKS


def clip_tokens(folder: PipelineFolder, width: int, height: int, frames: int) -> int:
    """Tokens of one clip of `width` x `height` pixels; sizes are taken to be on the grid."""
    t, h, w = folder.patch
    latent_frames = (frames - 1) // folder.frame_stride + 1
    return (latent_frames // t) * (height // folder.spatial_stride // h) * (width // folder.spatial_stride // w)


def _official_defaults(folder: PipelineFolder) -> dict[str, Any]:
    two, channels = folder.boundary_ratio is not None, folder.condition_channels
    small = int(folder.transformer.get("num_attention_heads", 40)) <= 12
    clip: dict[str, Any] = {"width": 832, "height": 480, "frames": 81, "fps": 16}
    if folder.expand_timesteps:
        return {"width": 1280, "height": 704, "frames": 121, "fps": 24, "steps": 50, "guidance_scale": 5.0}
    if not small:
        clip |= {"width": 1280, "height": 720}
    if two and channels:
        return clip | {"steps": 40, "guidance_scale": 3.5, "guidance_scale_2": 3.5}
    if two:
        return clip | {"steps": 40, "guidance_scale": 4.0, "guidance_scale_2": 3.0}
    if channels and folder.transformer.get("pos_embed_seq_len") is None:
        return clip | {"steps": 40, "guidance_scale": 5.0}
    return clip | {"steps": 50, "guidance_scale": 5.0}


def describe_sampler(config: Mapping[str, Any], flow_shift: float | None = None) -> str:
    """One line that says how a clip is sampled: the scheduler and the settings that steer a flow.

    Args:
        config: a `scheduler_config.json`.
        flow_shift: a shift that takes the place of the folder's own.
    """
    name = str(config.get("_class_name", "unknown")).removesuffix("Scheduler").removesuffix("Discrete")
    own_shift = config.get("flow_shift", config.get("shift", 1.0))
    words = [f"{name} shift={float(own_shift if flow_shift is None else flow_shift):g}"]
    words += [f"{key}={config[key]}" for key in ("solver_order", "solver_type") if config.get(key) is not None]
    return " ".join(words)


def _own_defaults(folder: Path) -> dict[str, Any]:
    path = folder / OWN_DEFAULTS
    if not path.is_file():
        return {}
    own = read_json(path)
    for key, value in own.items():
        if key not in OWN_KEYS:
            raise ModelError(f"{path}: unknown key {key!r}. Known: {', '.join(OWN_KEYS)}")
        if not isinstance(value, OWN_KEYS[key]) or isinstance(value, bool):
            wanted = " or ".join(kind.__name__ for kind in OWN_KEYS[key])
            raise ModelError(f"{path}: {key} is {value!r}, not a {wanted}")
    for part, dtype in own.get("precision", {}).items():
        if part not in PRECISION_PARTS or dtype not in DTYPES:
            legal = f"parts are {', '.join(PRECISION_PARTS)}, dtypes {', '.join(DTYPES)}"
            raise ModelError(f"{path}: precision {part!r}: {dtype!r}; {legal}")
    own.pop("notes", None)
    return own


def _check_grid(facts: Mapping[str, Any], folder: Path) -> None:
    for key in ("width", "height"):
        if facts[key] % facts["grid"] or not facts["min_size"] <= facts[key] <= facts["max_size"]:
            raise ModelError(
                f"{folder}: the default {key} {facts[key]} is not a multiple of {facts['grid']} between "
                f"{facts['min_size']} and {facts['max_size']}"
            )
    if facts["frames"] % facts["frame_stride"] != 1 % facts["frame_stride"] or facts["frames"] > facts["max_frames"]:
        raise ModelError(
            f"{folder}: the default of {facts['frames']} frames is not a multiple of {facts['frame_stride']} plus one, "
            f"up to {facts['max_frames']}"
        )
    for key in ("frames", "fps", "steps", "gpu_s_per_tflop", "max_tokens"):
        if not 0 < facts[key] < math.inf:
            raise ModelError(f"{folder}: {key} is {facts[key]}, which is not a number above 0")
    for key in ("guidance_scale", "guidance_scale_2"):
        if not math.isfinite(facts.get(key, 1.0)):
            raise ModelError(f"{folder}: {key} is {facts[key]}, which is not a number")
