"""The renderer of a rank: a pipeline folder rendered by ``model``, alone or with the other ranks of the gang."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from actors.gangs.pieces import HELPED, long_of, pieces_kept
from actors.gangs.rendering import Frames, OnStage, Order
from actors.job import InputRules, RenderSetup

log = logging.getLogger(__name__)
FULL_PRECISION = {"transformer": "float32", "autoencoder": "float32", "text_encoder": "float32"}


class PipelineRenderer:
    """Renders with ``model.Pipeline``. torch is imported when the rank loads."""

    def __init__(self, setup: RenderSetup) -> None:
        self._setup = setup
        self._meeting: Any = None
        self._group: Any = None
        self._pipeline: Any = None
        self._precision: Mapping[str, str] = {}
        self._told: Any = None
        self._long: Any = None

    def load(self) -> None:
        import torch

        torch.set_num_threads(self._setup.threads)  # Ray sets OMP_NUM_THREADS by reserved cores, fractions on a CPU
        self._load(self._setup.precision)

    def serve(self, host: str) -> int:
        from model.parallel import serve_store

        self._meeting = serve_store(host, timeout_s=self._setup.collective_timeout_s)
        return int(self._meeting.port)

    def join(self, address: tuple[str, int] | None) -> str:
        from model import Layout, ParallelGroup
        from model.parallel import join_store

        setup = self._setup
        if address is None:
            self._group = ParallelGroup.single(setup.device)
            return str(self._group.layout)
        if self._meeting is None:
            self._meeting = join_store(*address, timeout_s=setup.collective_timeout_s)
        layout = Layout.parse(setup.layout) if setup.layout else Layout.choose(setup.size, self._heads())
        self._group = ParallelGroup.create(
            layout,
            setup.rank,
            setup.size,
            store=self._meeting,
            backend="nccl" if setup.device == "cuda" else "gloo",
            timeout_s=setup.collective_timeout_s,
        )
        log.info(
            "rank %d of %d, layout %s, %d threads, %s", setup.rank, setup.size, layout, setup.threads, setup.device
        )
        return str(layout)

    def prepare(self, order: Order, rules: InputRules, on_stage: OnStage) -> None:
        self._told = None
        wanted = FULL_PRECISION if order.get("precision") == "float32" else self._setup.precision
        if dict(wanted) != dict(self._precision):
            on_stage("load", 0, 0)
            self._load(wanted)
        self._long = long_of(order, rules if self._setup.rank == 0 else None, self._precision)
        if self._setup.rank == 0:
            with self._memory(order):
                self._told = self._told_of(order, rules, on_stage)

    def render(self, order: Order, on_stage: OnStage) -> Frames | None:
        with self._memory(order):
            return self._rendered(order, on_stage)

    def _rendered(self, order: Order, on_stage: OnStage) -> Frames | None:
        from actors.gangs.inputs import clip_of, is_given
        from model.conditions.takes import decode, sample

        task, clip = order["task"], clip_of(order, self._pipeline.folder.frame_stride)
        on_stage("denoise", 0, int(order["steps"]))
        told, self._told = self._told, None
        with pieces_kept(self._long):
            sampled = sample(
                self._pipeline,
                task,
                order["prompt"],
                clip,
                negative_prompt=order.get("negative_prompt"),
                seed=int(order["seed"]),
                steps=int(order["steps"]),
                guidance_scale=float(order["guidance_scale"]),
                told=told,
                strength=order.get("strength"),
                draw_first=task == "loop" and not is_given(order, "image"),
                long=self._long,
                group=self._group,
                on_stage=on_stage,
            )
        if self._setup.rank == 0 and order.get("helper") and self._long.keeper.made:
            on_stage(HELPED, 1, 1)
        if self._setup.rank != 0 or order.get("helper"):
            return None
        on_stage("decode", 0, 0)
        return decode(self._pipeline, sampled, task, clip, on_latent=partial(on_stage, "decode"))

    def _load(self, precision: Mapping[str, str]) -> None:
        from model import Pipeline

        # The old weights go before the new ones come, and should those find no room, this rank has loaded nothing.
        self._pipeline, self._told, self._precision = None, None, {}
        gc.collect()
        setup = self._setup
        self._pipeline = Pipeline.from_pretrained(
            setup.model_folder,
            device=setup.device,
            parts=Pipeline.parts_of(setup.rank),
            transformer_dtype=precision.get("transformer", "float32"),
            autoencoder_dtype=precision.get("autoencoder", "bfloat16"),
            text_dtype=precision.get("text_encoder", "float32"),
        )
        self._precision = precision

    def _memory(self, order: Order) -> AbstractContextManager[Any]:
        """How a take is rendered for which memory has run out before."""
        return self._pipeline.saving_memory() if order.get("low_memory") else nullcontext()

    def _heads(self) -> int:
        return int(self._pipeline.folder.transformer["num_attention_heads"])

    def _told_of(self, order: Order, rules: InputRules, on_stage: OnStage) -> Any:
        """What the checkpoint is told of the take's inputs; None where it has none."""
        from actors.gangs.inputs import clip_of, inputs_of, is_given
        from model.conditions.pixels import COLUMNS

        if not any(is_given(order, name) for name in COLUMNS):
            return None
        on_stage("inputs", 0, 0)
        stride = self._pipeline.folder.frame_stride
        given = inputs_of(order, rules, stride, lambda: on_stage("inputs", 0, 0))
        if given is None:
            return None
        on_stage("condition", 0, 0)
        return self._pipeline.condition(order["task"], given, clip_of(order, stride))
