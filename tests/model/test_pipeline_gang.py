"""The same take is the same picture in a gang of 1, 2 and 4, in every layout; and a gang leaves a take together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.model.gangs import run_ranks
from tests.model.sampling_rank import BF16_LAYOUTS, LAYOUTS, TIMEOUT_S

RANKS = 4


@dataclass(frozen=True)
class Rendered:
    frames: dict[str, np.ndarray]
    outcomes: list[dict[str, str]]

    def psnr(self, a: str, b: str) -> float:
        """dB of 16-bit frames; two equal ones are 200."""
        error = np.mean((self.frames[a].astype(np.float64) - self.frames[b].astype(np.float64)) ** 2)
        return float(10 * np.log10(65535.0**2 / error)) if error else 200.0


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    out = tmp_path_factory.mktemp("gang")
    outcomes = run_ranks("tests.model.sampling_rank", RANKS, out, timeout_s=TIMEOUT_S)
    with np.load(out / "frames.npz") as frames:
        return Rendered(dict(frames), outcomes)


def test_one_picture_in_every_layout(rendered: Rendered) -> None:
    assert rendered.frames["single"].std() > 1000, "a flat picture would hide every error"
    found = {name: rendered.psnr(name, "single") for name in LAYOUTS}
    print("fp32 transformer, against one rank: " + ", ".join(f"{name} {dB:.1f} dB" for name, dB in found.items()))
    assert min(found.values()) >= 60


def test_bf16_is_close_and_its_figure_is_known(rendered: Rendered) -> None:
    found = {name: rendered.psnr(f"bf16 {name}", "bf16 single") for name in BF16_LAYOUTS}
    rounding = rendered.psnr("bf16 single", "single")
    print(
        "bf16 transformer, against one rank: " + ", ".join(f"{name} {dB:.1f} dB" for name, dB in found.items()),
        f"; bf16 against fp32, one rank: {rounding:.1f} dB",
    )
    # A layout may cost what bf16 costs anyway, and not more.
    assert min(found.values()) > rounding - 3


def test_unguided_takes_need_no_exchange(rendered: Rendered) -> None:
    assert np.abs(rendered.frames["unguided"] - rendered.frames["single unguided"]).max() < 1e-5


def test_a_background_is_looked_at_twice_by_all_ranks(rendered: Rendered) -> None:
    first, second = rendered.outcomes[:2]
    assert first["edit"] == second["edit"] == "done"
    alone = rendered.frames["single edit"]
    # Between the looks frames are rounded to 8 bits: where a seventh digit differs, one of them may be another.
    assert np.abs(rendered.frames["edit"] - alone).max() < 0.02 * np.abs(alone).max()


def test_ranks_wait_for_what_rank_0_is_at(rendered: Rendered) -> None:
    assert [outcomes["slow edit"] for outcomes in rendered.outcomes[:2]] == ["done", "done"]


def test_all_ranks_leave_together_and_the_gang_goes_on(rendered: Rendered) -> None:
    first, second = rendered.outcomes[:2]
    assert first["cancelled by 0"] == "StoppedError: after 2"
    assert second["cancelled by 0"] == "PeerFailed: rank 0: StoppedError: after 2"
    assert first["cancelled by 1"] == "PeerFailed: rank 1: StoppedError: after 1"
    assert second["cancelled by 1"] == "StoppedError: after 1"
    assert first["wrong condition"].startswith("InputError: the condition is (1, 16, 3, 4, 4)")
    assert second["wrong condition"].startswith("PeerFailed: rank 0: InputError")
    assert first["unguided"] == second["unguided"] == "done"
