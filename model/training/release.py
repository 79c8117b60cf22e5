"""Puts trained parts together into one diffusers pipeline folder: the default model.

    python -m model.training.release --autoencoder runs/autoencoder/vae --transformer runs/transformer --out DIR

With `--average MODEL` its transformer and text encoder are half the new ones and half those of a released model, from
which they went on (Wortsman et al., Model soups, 2022): less is learnt anew, and less is forgotten.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

# Keys as diffusers 0.42 writes them. `expand_timesteps` is Wan 2.2's TI2V form: one folder for text and image to video.
MODEL_INDEX = {
    "_class_name": "WanPipeline",
    "_diffusers_version": "0.42.1",
    "boundary_ratio": None,
    "expand_timesteps": True,
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "transformer_2": [None, None],
    "vae": ["diffusers", "AutoencoderKLWan"],
}
SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "_diffusers_version": "0.42.1",
    "num_train_timesteps": 1000,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
    "solver_order": 2,
    "solver_type": "bh2",
    "predict_x0": True,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
    "timestep_spacing": "linspace",
}
DEFAULTS = {
    "name": "shapes-128",
    "width": 128,
    "height": 128,
    "frames": 33,
    "fps": 8,
    "steps": 20,
    "guidance_scale": 3.0,
    "min_size": 32,
    "max_size": 1024,
    "max_frames": 481,
    "max_tokens": 40000,
    "notes": "Trained on 17 and 33 frames of 128x128 and 160x96: other sizes render, with less obedience.",
}


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes indented JSON with a closing line feed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def assemble(autoencoder: Path, transformer: Path, out: Path) -> None:
    """Copies the trained parts into `out` and writes the index, the scheduler's settings and the model's defaults."""
    for source, name in (
        (autoencoder, "vae"),
        (transformer / "transformer", "transformer"),
        (transformer / "text_encoder", "text_encoder"),
        (transformer / "tokenizer", "tokenizer"),
    ):
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(source, out / name)
    config = json.loads((out / "vae" / "config.json").read_text())
    config.pop("_name_or_path", None)  # where it was trained is nobody's business
    write_json(out / "vae" / "config.json", config)
    write_json(out / "model_index.json", MODEL_INDEX)
    write_json(out / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(out / "rushes.json", DEFAULTS)


AVERAGED = ("transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")


def average(out: Path, other: Path) -> None:
    """Makes the transformer and the text encoder of `out` the mean of themselves and those of another model folder.

    Raises:
        ValueError: they have other tensors, or tensors of other shapes.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    for name in AVERAGED:
        ours, theirs = load_file(out / name), load_file(other / name)
        if {key: value.shape for key, value in ours.items()} != {key: value.shape for key, value in theirs.items()}:
            raise ValueError(f"{other / name} has other tensors than {out / name}: neither went on from the other")
        with safe_open(out / name, "pt") as file:
            about = file.metadata()
        mean = {key: ((value.float() + theirs[key].float()) / 2).to(value.dtype) for key, value in ours.items()}
        save_file(mean, out / name, metadata=about)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--transformer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--average", type=Path, metavar="MODEL", help="a model folder whose weights count half")
    given = parser.parse_args()
    assemble(given.autoencoder, given.transformer, given.out)
    if given.average:
        average(given.out, given.average)


if __name__ == "__main__":
    main()
