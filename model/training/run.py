"""What every training run does: warm-up and decay, averaged weights, checkpoints that resume, and a loss curve.

A run's folder holds the newest checkpoint (weights, averages and optimizers' moments; `model.training.checkpoint`),
`loss.csv` and, when a piece of the run ends, `loss.png`.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from model.training.checkpoint import load_checkpoint, save_checkpoint
from model.training.curve import draw_curve, read_curve
from model.training.muon import BatchedMuon

STOPPED = 75
"""Exit code of a trainer that stopped because its seconds were over (EX_TEMPFAIL of sysexits.h): run it again."""


def ended(run: Run) -> None:
    """Leaves the process with `STOPPED` where steps are left."""
    if run.done < 1:
        print(f"stopped at step {run.step} of {run.steps}: the same command goes on", file=sys.stderr)
        sys.exit(STOPPED)


def learning_rate(step: int, done: float, peak: float, warmup: int = 100, floor: float = 0.02) -> float:
    """A cosine from the peak down to `floor` of it when all is done (0..1), with a linear warm-up."""
    cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
    return peak * cosine * min(1.0, (step + 1) / warmup)


Figures = Mapping[str, float | Tensor]
"""What a step tells of itself, by name: numbers, or tensors of one number."""

# What a checkpoint calls the moments of either optimizer.
_MOMENTS = {"updates": "step", "first": "exp_avg", "second": "exp_avg_sq", "momentum": "momentum_buffer"}


class Run:
    """One resumable training run of `module` in `folder`.

    `averaged` holds an exponential moving average of the weights: the weights to keep. The parameters named in
    `matrices` are trained by Muon (arXiv 2502.16982, whose scale of updates lets it share AdamW's rate), which gets as
    far in about half of the steps; everything else by AdamW.

    `done` is the share of the run that lies behind it: of its steps, or of the seconds that it was told to end
    `within`, for a machine that is lent for a time. A run told so does not go on as an unbroken one would.
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        *,
        steps: int,
        peak: float,
        decay: float = 0.999,
        matrices: Collection[str] = (),
    ) -> None:
        self.within = math.inf
        self.folder, self.module, self.steps, self.peak, self.decay = folder, module, steps, peak, decay
        self.step, self.done = 0, 0.0
        self.names = [name for name, value in module.named_parameters() if value.requires_grad]
        self.parameters = [value for value in module.parameters() if value.requires_grad]
        self.averaged = {n: p.detach().clone() for n, p in zip(self.names, self.parameters, strict=True)}
        pairs = list(zip(self.names, self.parameters, strict=True))
        hidden = [value for name, value in pairs if name in matrices]
        others = [value for name, value in pairs if name not in matrices]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        ]
        if hidden:
            self.optimizers.append(BatchedMuon(hidden, lr=peak, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"))
        folder.mkdir(parents=True, exist_ok=True)
        found = load_checkpoint(folder)
        if found is not None:
            self._resume(*found)

    def _resume(self, step: int, state: dict[str, Tensor]) -> None:
        self.step, self.done = step, step / self.steps
        for name, value in zip(self.names, self.parameters, strict=True):
            value.data.copy_(state[f"weight/{name}"])
            self.averaged[name].copy_(state[f"averaged/{name}"])
            kept = {
                moment: state[f"{key}/{name}"].to(value.device)
                for key, moment in _MOMENTS.items()
                if f"{key}/{name}" in state
            }
            if kept:
                self._optimizer_of(value).state[value] = kept

    def _optimizer_of(self, value: nn.Parameter) -> torch.optim.Optimizer:
        return next(
            one
            for one in self.optimizers
            if any(value is held for group in one.param_groups for held in group["params"])
        )

    def save(self) -> None:
        """Writes a checkpoint that takes the place of the one before."""
        state: dict[str, Tensor] = {}
        for name, value in zip(self.names, self.parameters, strict=True):
            state[f"weight/{name}"] = value.detach()
            state[f"averaged/{name}"] = self.averaged[name]
            # None for a parameter that no batch has used yet.
            moments = self._optimizer_of(value).state.get(value, {})
            state |= {f"{key}/{name}": moments[moment] for key, moment in _MOMENTS.items() if moment in moments}
        save_checkpoint(self.folder, self.step, self.steps, state)

    def train(
        self, loss_of: Callable[[int], tuple[Tensor, Figures]], *, seconds: float = math.inf, every: int = 50
    ) -> Iterator[dict[str, float]]:
        """Runs until `steps` are done or `seconds` have passed; yields figures of the first step and of every `every`.

        `loss_of(step)` gives the loss of that step's batch and figures to log; its randomness comes from the step
        alone, so that a resumed run sees the batches that an unbroken one would.
        """
        began, since = time.monotonic(), time.monotonic()
        rows: list[Figures] = []
        while self.done < 1 and time.monotonic() - began < seconds:
            rows.append(self._descend(loss_of))
            self.done = max(self.step / self.steps, (time.monotonic() - began) / self.within)
            if self.step % every == 0 or self.step == 1:
                yield self._log(rows, time.monotonic() - since)
                since, rows = time.monotonic(), []
            if self.step % 500 == 0:
                self.save()
        if rows:
            self._log(rows, time.monotonic() - since)
        self.save()
        self._draw()

    def _descend(self, loss_of: Callable[[int], tuple[Tensor, Figures]]) -> Figures:
        """One step. Nothing of its graph outlives it: a CUDA graph could not be recorded beside one."""
        loss, figures = loss_of(self.step)
        self.module.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.done, self.peak)
            optimizer.step()
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.averaged.values()), [p.detach() for p in self.parameters], 1 - decay)
        return {"loss": loss.detach().clone(), **figures}

    def _draw(self) -> None:
        losses = self.folder / "loss.csv"
        if losses.exists() and len((columns := read_curve(losses)).get("step", [])) > 1:
            draw_curve(columns).save(self.folder / "loss.png")

    def _log(self, rows: list[Figures], seconds: float) -> dict[str, float]:
        """Means of the figures of some steps, of which it adds a row to the curve."""
        # Only here does the processor wait for a GPU.
        mean = {key: sum(float(row[key]) for row in rows) / len(rows) for key in rows[0]}
        row = {"step": float(self.step), **mean, "seconds_per_step": seconds / len(rows)}
        path = self.folder / "loss.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})
        return row

    def load_averaged(self) -> None:
        """Puts the averaged weights into the module, for keeping or for measuring."""
        for name, value in zip(self.names, self.parameters, strict=True):
            value.data.copy_(self.averaged[name])
