"""Reading a diffusers-format Wan pipeline folder: what it says it holds, without loading any of it.

Needs neither torch nor diffusers, so a planner on a laptop can ask.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from model.errors import ModelError

INDEX = "model_index.json"
TRANSFORMER_CLASS = "WanTransformer3DModel"
AUTOENCODER_CLASS = "AutoencoderKLWan"
REQUIRED = ("tokenizer", "text_encoder", "vae", "scheduler", "transformer")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; raises ModelError when it is missing, broken or not an object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds a {type(found).__name__}, not an object")
    return found


@dataclass(frozen=True)
class PipelineFolder:
    """A local folder with a `model_index.json`.

    Attributes:
        path: the folder.
        components: name of each component that is there, with the class that its index names.
        boundary_ratio: where the high-noise expert hands over to `transformer_2`, as a share of the time; None for one.
        expand_timesteps: whether known tokens are told by a time step of 0 (the TI2V form).
    """

    path: Path
    components: dict[str, str]
    boundary_ratio: float | None
    expand_timesteps: bool

    @classmethod
    def open(cls, path: Path | str) -> PipelineFolder:
        """Reads the index of `path` and checks that the parts of a Wan pipeline are there.

        Raises:
            ModelError: naming what was found in place of the pipeline.
        """
        path = Path(path)
        if not path.is_dir():
            raise ModelError(f"no model folder at {path}")
        if not (path / INDEX).is_file():
            found = ", ".join(sorted(child.name for child in path.iterdir())[:12]) or "nothing"
            raise ModelError(f"{path} is not a pipeline folder: it has no {INDEX}. Found: {found}")
        index = read_json(path / INDEX)
        components = {
            name: str(value[1])
            for name, value in index.items()
            if isinstance(value, list) and len(value) == 2 and value[1] is not None
        }
        missing = [name for name in REQUIRED if name not in components]
        if missing:
            found = ", ".join(components) or "nothing"
            raise ModelError(f"{path / INDEX} names no {', '.join(missing)}. Found: {found}")
        absent = [name for name in components if not (path / name).is_dir()]
        if absent:
            raise ModelError(f"{path} lacks the folders {', '.join(absent)} that its {INDEX} names")
        ratio = index.get("boundary_ratio")
        if ratio is not None and "transformer_2" not in components:
            raise ModelError(f"{path / INDEX} has boundary_ratio {ratio} but no transformer_2")
        folder = cls(path, components, None if ratio is None else float(ratio), bool(index.get("expand_timesteps")))
        folder._check_classes()
        return folder

    def _check_classes(self) -> None:
        for name in self.experts:
            found = self.components[name]
            if found != TRANSFORMER_CLASS:
                raise ModelError(f"{self.path / name} is a {found}; this build renders with {TRANSFORMER_CLASS}")
        if self.components["vae"] != AUTOENCODER_CLASS:
            raise ModelError(f"{self.path / 'vae'} is a {self.components['vae']}, not an {AUTOENCODER_CLASS}")

    @property
    def experts(self) -> tuple[str, ...]:
        """Folders of the transformers in the order of use: one, or the high-noise and then the low-noise expert."""
        return ("transformer", "transformer_2") if self.boundary_ratio is not None else ("transformer",)

    @cached_property
    def transformer(self) -> dict[str, Any]:
        """`transformer/config.json`."""
        return read_json(self.path / "transformer" / "config.json")

    @cached_property
    def autoencoder(self) -> dict[str, Any]:
        """`vae/config.json`."""
        return read_json(self.path / "vae" / "config.json")

    @cached_property
    def scheduler(self) -> dict[str, Any]:
        """`scheduler/scheduler_config.json`."""
        return read_json(self.path / "scheduler" / "scheduler_config.json")

    @property
    def spatial_stride(self) -> int:
        """Pixels of a side for one latent."""
        return int(self.autoencoder.get("scale_factor_spatial") or 8)

    @property
    def frame_stride(self) -> int:
        """Frames for one latent frame; a clip has a multiple of it plus one frame."""
        return int(self.autoencoder.get("scale_factor_temporal") or 4)

    @property
    def patch(self) -> tuple[int, int, int]:
        """Latents of one token: frames, rows, columns."""
        t, h, w = self.transformer.get("patch_size") or (1, 2, 2)
        return int(t), int(h), int(w)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents that are sampled."""
        return int(self.autoencoder.get("z_dim") or 16)

    @property
    def condition_channels(self) -> int:
        """Channels that the transformer takes beside the noisy latents: 0, or 20 for mask and condition latents."""
        return int(self.transformer.get("in_channels") or 16) - self.latent_channels

    @property
    def has_image_tokens(self) -> bool:
        """Whether the transformer attends to the tokens of a CLIP image encoder."""
        return self.transformer.get("image_dim") is not None
