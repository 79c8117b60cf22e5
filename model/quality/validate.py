"""Holds every check against clips whose truth is known: right ones must pass, and wrong ones must be told.

    python -m model.quality.validate --count 60 --out model/quality/accuracy.json --readme model/quality/README.md

Right clips are drawn as their captions ask; wrong ones fail in one respect (`model.quality.wrong`). Soft clips are the
right ones as a small autoencoder would show them: blurred and noisy. Of the faults that any clip may have, each right
clip is spoilt in each way (`model.quality.faults`). What comes out stands beside every score.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from model.quality.asked import asked_of
from model.quality.faults import FAULTS, sound, spoilt
from model.quality.obedience import CHECKS, judge
from model.quality.reading import read
from model.quality.wrong import wrong_clip
from model.training.world import SHARES, Scene, draw, sample_scene

MEASURES = (*CHECKS, *FAULTS)
KINDS_OF_CLIP = ("right", "wrong", "soft")
_NOISE = 6.0  # grey levels of noise in a soft clip: about 32 dB together with the blur
TABLE = ("<!-- accuracy: begin -->", "<!-- accuracy: end -->")


def softened(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A clip (frames, height, width, 3) blurred over three pixels, with noise; uint8."""
    soft: np.ndarray = clip.astype(np.float32)
    for axis in (1, 2):
        before, after = np.roll(soft, 1, axis), np.roll(soft, -1, axis)
        edge = [slice(None)] * 4
        edge[axis] = slice(0, 1)
        before[tuple(edge)] = soft[tuple(edge)]
        edge[axis] = slice(-1, None)
        after[tuple(edge)] = soft[tuple(edge)]
        soft = (before + 2 * soft + after) / 4
    return np.rint(soft + rng.normal(0, _NOISE, soft.shape)).clip(0, 255).astype(np.uint8)


def verdicts(scene: Scene, rng: np.random.Generator, most_wrong: int) -> Iterator[tuple[str, str, bool]]:
    """(measure, kind of clip, whether the check was right) for the clips of one scene."""
    asked, clip = asked_of(scene), draw(scene)
    for kind, shown in (("right", clip), ("soft", softened(clip, rng))):
        for measure, verdict in judge(read(shown), asked).items():
            yield measure, kind, verdict.passed
    for measure in rng.permutation(list(CHECKS))[:most_wrong]:
        wrong = wrong_clip(scene, str(measure), rng)
        told = None if wrong is None else CHECKS[str(measure)](read(wrong), asked)
        if told is not None:
            yield str(measure), "wrong", not told.passed
    for kind, shown in (("right", clip), ("soft", softened(clip, rng))):
        for fault, passed in sound(shown, asked).items():
            yield fault, kind, passed
    for fault in sound(clip, asked):
        yield fault, "wrong", not sound(spoilt(clip, fault), asked)[fault]


def validate(
    sizes: Sequence[tuple[int, int, int]], count: int, seed: int = 9 * 10**6, most_wrong: int = 6
) -> dict[str, dict[str, float]]:
    """Accuracy of each check: for each kind of clip the share told right, and `<kind>_clips`, of how many (NaN of 0).

    Args:
        sizes: width, height and frames of the clips; `count` scenes of each family are drawn in each.
        most_wrong: in how many respects at most a scene is made wrong.
    """
    hits: dict[tuple[str, str], list[bool]] = {(name, kind): [] for name in MEASURES for kind in KINDS_OF_CLIP}
    for size in sizes:
        for number, family in enumerate(SHARES):
            for index in range(count):
                rng = np.random.default_rng((seed, *size, number, index))
                scene = sample_scene(rng, *size, shares={family: 1.0})
                for measure, kind, right in verdicts(scene, rng, most_wrong):
                    hits[measure, kind].append(right)
    return {
        name: {
            key: value
            for kind in KINDS_OF_CLIP
            for key, value in (
                (kind, round(float(np.mean(hits[name, kind])), 4) if hits[name, kind] else float("nan")),
                (f"{kind}_clips", len(hits[name, kind])),
            )
        }
        for name in MEASURES
    }


def table(accuracy: dict[str, dict[str, float]]) -> str:
    """Markdown of what `validate` found."""
    lines = [
        "| measure | right clips pass | wrong clips told | soft clips pass |",
        "|---|---|---|---|",
    ]
    for name, row in accuracy.items():
        cells = [f"{row[kind]:.1%} of {row[f'{kind}_clips']:.0f}" for kind in KINDS_OF_CLIP]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="scenes of each family and size")
    parser.add_argument("--size", nargs="+", default=["64x64x17", "128x128x33"], metavar="WxHxF")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--readme", type=Path, help="a page whose table is put in place")
    given = parser.parse_args()
    sizes = [tuple(int(part) for part in size.split("x")) for size in given.size]
    accuracy = validate([(w, h, f) for w, h, f in sizes], given.count)
    untried = [name for name, row in accuracy.items() if not all(row[f"{kind}_clips"] for kind in KINDS_OF_CLIP)]
    if untried:
        parser.error(f"too few clips: nothing holds {', '.join(untried)} to account; give a larger --count")
    page = table(accuracy)
    print(page)
    if given.out:
        given.out.write_text(json.dumps(accuracy, indent=2) + "\n")
    if given.readme:
        text = given.readme.read_text()
        before, after = text.split(TABLE[0])[0], text.split(TABLE[1])[1]
        given.readme.write_text(f"{before}{TABLE[0]}\n{page}\n{TABLE[1]}{after}")


if __name__ == "__main__":
    main()
