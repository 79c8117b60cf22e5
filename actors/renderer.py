"""The renderer of a rank: a pipeline folder rendered by ``model``, alone or with the other ranks of the gang."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from actors.job import InputRules, RenderSetup
from actors.rendering import Frames, OnStage, Order, fetch_planned

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
        self._condition: Any = None

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
        self._condition = None
        wanted = FULL_PRECISION if order.get("precision") == "float32" else self._setup.precision
        if dict(wanted) != dict(self._precision):
            on_stage("load", 0, 0)
            self._load(wanted)
        if self._setup.rank == 0 and order.get("image_uri"):
            on_stage("inputs", 0, 0)
            self._condition = self._condition_of(order, rules)

    def render(self, order: Order, on_stage: OnStage) -> Frames | None:
        on_stage("denoise", 0, int(order["steps"]))
        latents = self._pipeline.denoise(
            prompt=order["prompt"],
            negative_prompt=order.get("negative_prompt"),
            width=int(order["render_width"]),
            height=int(order["render_height"]),
            frames=int(order["render_frames"]),
            seed=int(order["seed"]),
            steps=int(order["steps"]),
            guidance_scale=float(order["guidance_scale"]),
            condition=self._condition,
            group=self._group,
            on_step=lambda step, steps: on_stage("denoise", step, steps),
        )
        self._condition = None
        if self._setup.rank != 0:
            return None
        on_stage("decode", 0, 0)
        if order.get("low_memory") and self._setup.device == "cuda":
            return self._decode_alone(latents)
        frames: Frames = self._pipeline.decode(latents)
        return frames

    def _load(self, precision: Mapping[str, str]) -> None:
        from model import Pipeline

        self._pipeline = None  # the old weights go before the new ones come
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

    def _heads(self) -> int:
        return int(self._pipeline.folder.transformer["num_attention_heads"])

    def _condition_of(self, order: Order, rules: InputRules) -> Any:
        image = fetch_planned(order, "image_uri", rules)
        size = int(order["render_width"]), int(order["render_height"]), int(order["render_frames"])
        return self._pipeline.condition_i2v(image, *size)

    def _decode_alone(self, latents: Any) -> Frames:
        """Decodes with the transformers moved out of the device's memory meanwhile."""
        import torch

        try:
            for expert in self._pipeline.experts:
                expert.to("cpu")
            torch.cuda.empty_cache()
            frames: Frames = self._pipeline.decode(latents)
            return frames
        finally:
            for expert in self._pipeline.experts:
                expert.to(self._setup.device)
