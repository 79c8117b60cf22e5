"""Writes a model's card from what the other commands measured, so that no figure is typed in by hand.

    python -m model.training.card --model model/default --evaluation runs/evaluation \\
        --tasks runs/tasks --history model/default/history.json --curve runs/evaluation-small runs/evaluation-12-steps

How the weights came about is a data file beside them: a list of `{"part", "steps", "hours", "how"}`. Each folder of
`--curve` holds another evaluation, of another size of model or number of steps, and becomes a row of quality against
compute.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from model.errors import ModelError
from model.facts import read_facts
from model.training.autoencoder import measure as measure_autoencoder
from model.training.card_tables import (
    best_of_text,
    curve_text,
    faults_text,
    history_table,
    obedience_table,
    short_text,
    tasks_text,
)
from model.training.world.vocabulary import BACKGROUNDS, CAMERAS, COLORS, DIRECTIONS, KINDS, SIZES, STYLES, TEXTURES

TEXT = """# {name}: the model that ships with rushes

A Wan-architecture video diffusion model of {parameters:.1f} million parameters in the transformer, small enough to
render a clip on a laptop's CPU in seconds. It draws coloured shapes that move, and is there so that every part of the
farm can be tried; it is no model of the real world. Apache-2.0.

| part | what it is |
|---|---|
| `transformer/` | {layers} blocks of width {width}, 16 channels, per-token time steps (Wan 2.2's TI2V form) |
| `vae/` | diffusers' `AutoencoderKLWan`, stride 4 x 8 x 8, patch size 2 |
| `text_encoder/`, `tokenizer/` | UMT5 of two layers; whole words |
| `scheduler/` | UniPC, flow shift 3 |

Weights are stored as bf16; renders compute the transformer in fp32 and the autoencoder in bf16. `diffusers.WanPipeline`
and `diffusers.WanImageToVideoPipeline` load this folder and give the same clip from the same noise. By itself it makes
{frames} frames of {columns}x{rows} at {fps:g} a second. {notes}

## What it was trained on

Clips of `model/training/world/`, drawn by the project itself: no picture of anybody's went in. Colours: {colors}.
Shapes: {kinds}; {sizes}. Backgrounds: {backgrounds}; {textures}. Directions: {directions}. Camera: {cameras}. Styles:
{styles}. One to three things, two with attributes of their own, changes of colour, contacts, falls, bounces and orbits.
Ask as in "a large red circle moving right on a black background". Words outside this world are read as unknown.

## What was measured

{clips} fresh prompts, one take each, {steps} steps, guidance {guidance_scale:g}, {size}: the share of clips whose
pixels show what the prompt says, with its bootstrap 95 % interval. The baseline holds the same clips against the
captions of other clips, and the goal is what the model is wanted to reach. A check's own accuracy is measured on
drawn clips that are right, wrong in that one respect, and right but blurred and noisy (`model/quality/README.md`).

{obedience}

Prompts whose combination of colour, shape and background is held out (`model/training/world/holdout.py`; since when,
the table at the end says):

{held_out}
{faults}{best_of}{curve}{tasks}
Autoencoder, on whole clips that training never saw: {psnr:.1f} dB (goal 32), on the things alone
{psnr_foreground:.1f} dB (goal 28); by frame {psnr_by_frame}; on the things, by clip,
{psnr_foreground_by_clip}.

## Where it falls short

{short}

## Made by

{commands}

{history}"""


def commands(
    folder: str, evaluation: Mapping[str, Any], tasks: Mapping[str, Any] | None, curve: Sequence[Mapping[str, Any]]
) -> str:
    """The commands that made weights and figures, as a block of Markdown; what they leave lies under `runs/`."""
    best = evaluation.get("best_of")
    takes = f" --best-of {best['takes']} --best-prompts {best['prompts']}" if best else ""
    lines = [
        "python -m model.training --out runs/default",
        f"python -m model.training.evaluate --model {folder} --count {evaluation['of']}{takes} --out runs/evaluation",
    ]
    more = f" --history {folder}/history.json"
    if tasks:
        count = max(row["clips"] for name, row in tasks.items() if name != "minute")
        films = max((row["films"] for row in tasks.get("minute", {}).values()), default=0)
        long = f" --long {films}" if films else ""
        lines.append(f"python -m model.training.evaluate_tasks --model {folder} --count {count}{long} --out runs/tasks")
        more = f" --tasks runs/tasks{more}"
    lines.append(f"python -m model.training.card --model {folder} --evaluation runs/evaluation{more}")
    if curve:
        lines[-1] += " --curve " + " ".join(f"runs/{row['label']}" for row in curve)
    return "\n".join(f"    {line}" for line in lines)


def card(
    facts: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    autoencoder: Mapping[str, Any],
    *,
    history: Sequence[Mapping[str, Any]] = (),
    curve: Sequence[Mapping[str, Any]] = (),
    tasks: Mapping[str, Any] | None = None,
    folder: str = "model/default",
) -> str:
    """The card's Markdown, from a model's facts, an evaluation's `obedience.json` and the autoencoder's figures."""
    width, height, frames = evaluation["size"]
    return TEXT.format(
        name=facts["name"],
        parameters=facts["parameters"] / 1e6,
        layers=facts["layers"],
        width=facts["model_width"],
        columns=facts["width"],
        rows=facts["height"],
        frames=facts["frames"],
        fps=facts["fps"],
        notes=facts.get("notes", ""),
        colors=", ".join(COLORS),
        kinds=", ".join(KINDS),
        sizes=" and ".join(SIZES),
        backgrounds=", ".join(BACKGROUNDS),
        textures=", ".join(TEXTURES),
        directions=", ".join(DIRECTIONS),
        cameras=", ".join(CAMERAS),
        styles=", ".join(STYLES),
        size=f"{frames} frames of {width}x{height}",
        clips=evaluation["clips"],
        steps=evaluation["steps"],
        guidance_scale=evaluation["guidance_scale"],
        obedience=obedience_table(evaluation["obedience"]),
        held_out=obedience_table(evaluation["held_out"]),
        faults=faults_text(evaluation.get("faults")),
        best_of=best_of_text(evaluation.get("best_of")),
        curve=curve_text(curve),
        tasks=tasks_text(tasks),
        psnr=autoencoder["psnr"],
        psnr_foreground=autoencoder["psnr_foreground"],
        psnr_by_frame=", ".join(f"{value:.1f}" for value in autoencoder["psnr_by_frame"]),
        psnr_foreground_by_clip=", ".join(f"{value:.1f}" for value in autoencoder["psnr_foreground_by_clip"]),
        commands=commands(folder, evaluation, tasks, curve),
        history=history_table(history),
        short=short_text(evaluation, autoencoder, tasks),
    )


def _evaluation(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "obedience.json").read_text())
    return {**found, "label": folder.name}


def _autoencoder(model: Path, kept: Path | None) -> dict[str, Any]:
    """Figures that were kept, or measured now and then kept."""
    if kept is not None and kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    from diffusers import AutoencoderKLWan

    found = measure_autoencoder(AutoencoderKLWan.from_pretrained(model / "vae").eval())
    if kept is not None:
        kept.write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True, help="folder that the evaluation left")
    parser.add_argument("--tasks", type=Path, help="folder that the evaluation of the other tasks left")
    parser.add_argument("--history", type=Path, help="JSON file of how the weights came about")
    parser.add_argument(
        "--curve", type=Path, nargs="*", default=[], help="folders of other evaluations, cheapest first"
    )
    parser.add_argument("--autoencoder", type=Path, help="JSON file that keeps the autoencoder's figures")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        text = card(
            read_facts(given.model),
            _evaluation(given.evaluation),
            _autoencoder(given.model, given.autoencoder),
            history=json.loads(given.history.read_text()) if given.history else (),
            tasks=json.loads((given.tasks / "tasks.json").read_text()) if given.tasks else None,
            curve=[_evaluation(folder) for folder in given.curve],
            folder=str(given.model),
        )
    except (ModelError, OSError, ValueError) as error:
        parser.error(str(error))
    (given.model / "README.md").write_text(text.rstrip() + "\n")


if __name__ == "__main__":
    main()
