"""Shares of the world's families, said on a command line: more of what a model still gets wrong."""

from __future__ import annotations

import argparse
import math

from model.training.world import FAMILIES


def add_shares(parser: argparse.ArgumentParser) -> None:
    """Adds `--shares FAMILY=SHARE ...`, pairs of a name and a number; none given means the trainer's own shares."""
    parser.add_argument(
        "--shares",
        type=as_share,
        nargs="+",
        default=(),
        metavar="FAMILY=SHARE",
        help="of the families, as two=3 one=1",
    )


def as_share(text: str) -> tuple[str, float]:
    """Name and share of "two=3".

    Raises:
        argparse.ArgumentTypeError: it is no pair of a family and a number above 0.
    """
    name, _, share = text.partition("=")
    try:
        number = float(share)
    except ValueError:
        number = 0.0
    if name not in FAMILIES or not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not FAMILY=SHARE, a number above 0 of {', '.join(FAMILIES)}")
    return name, number


def part_of_one(text: str) -> float:
    """A number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return number
