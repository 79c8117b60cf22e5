"""From a prompt and a condition to latents, and from latents to frames, for any Wan pipeline folder of diffusers."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from model.autoencoder import Autoencoder, Depth, Frames, ImageEncoder, OnLatent
from model.cache import localise
from model.condition import Condition, Grid
from model.conditions.build import Told, build
from model.conditions.given import Given
from model.conditions.spans import Clip
from model.denoising import Denoiser
from model.dtypes import as_dtype
from model.errors import InputError, ModelError
from model.facts import read_facts, resolve
from model.folder import PipelineFolder
from model.gang import OnStep, share, together
from model.images import cover, decode_image
from model.offload import Movable, Offload
from model.sampler import Sampler
from model.text import TextEncoder, cleaner
from model.transformer import Transformer
from model.velocity import Form, Guidance

if TYPE_CHECKING:
    from model.parallel import ParallelGroup

PARTS = frozenset({"transformer", "text", "autoencoder", "image"})
"""Parts of a pipeline that a rank may load: the transformer(s), text encoder, autoencoder and image encoder."""
_RING_LEAD = 16  # latents of the end that the decoder is shown before the beginning: it remembers no more

T = TypeVar("T")


class Begun(NamedTuple):
    """A take before its first step, the same on every rank.

    Attributes:
        denoiser: how its windows are denoised.
        noise: of the whole clip, (1, c, t, h, w), fp32, on the device.
        condition: what is known of the clip, on the device, or None.
        generator: for samplers that draw more noise on their way.
    """

    denoiser: Denoiser
    noise: Tensor
    condition: Condition | None
    generator: torch.Generator


class Pipeline:
    """A loaded pipeline folder. It holds no state of a take, and renders one take at a time.

    In a gang every rank calls `denoise` with the same arguments; rank 0 alone encodes text, draws the noise and is
    heard about the condition, and needs all parts. The others need the transformer alone.
    """

    def __init__(
        self,
        folder: PipelineFolder,
        *,
        experts: Sequence[Transformer],
        sampler: Sampler,
        text: TextEncoder | None,
        autoencoder: Autoencoder | None,
        image: ImageEncoder | None,
        device: torch.device,
        location: str | None = None,
    ) -> None:
        self.folder, self.experts, self.sampler, self.device = folder, tuple(experts), sampler, device
        self._text, self._autoencoder, self._image = text, autoencoder, image
        self._offload: Offload | None = None
        self.location = location or str(folder.path)
        channels = folder.condition_channels
        if channels not in (0, folder.latent_channels + folder.frame_stride):
            raise ModelError(
                f"{folder.path}: {folder.transformer.get('in_channels')} input channels for latents of "
                f"{folder.latent_channels} are neither those of text to video nor those of image to video"
            )
        self.form = Form.TIMESTEPS if folder.expand_timesteps else Form.CHANNELS if channels else Form.IMPOSED

    @classmethod
    def from_pretrained(
        cls,
        path_or_url: str | os.PathLike[str],
        *,
        device: torch.device | str = "cpu",
        transformer_dtype: torch.dtype | str = torch.float32,
        autoencoder_dtype: torch.dtype | str = torch.bfloat16,
        text_dtype: torch.dtype | str = torch.float32,
        flow_shift: float | None = None,
        parts: Collection[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        cache: Path | None = None,
    ) -> Pipeline:
        """Loads a pipeline folder; weights come from safetensors only.

        Args:
            path_or_url: a folder with a `model_index.json`, its fsspec URL (fetched to the cache once), or "default".
            device: where everything is computed.
            transformer_dtype, autoencoder_dtype, text_dtype: what each part is computed in, however it is stored; names
                such as "bfloat16" will do.
            flow_shift: takes the place of the scheduler's own shift.
            parts: of `PARTS`; all by default. See `parts_of`.
            storage_options, cache: for a URL, as in `model.cache.localise`.

        Raises:
            ModelError: no such folder, or not one of a Wan pipeline.
        """
        wanted = PARTS if parts is None else frozenset(parts)
        if not wanted <= PARTS:
            strange = ", ".join(sorted(wanted - PARTS))
            raise ModelError(f"a pipeline has no part {strange}; it has {', '.join(sorted(PARTS))}")
        location = resolve(os.fspath(path_or_url))
        folder = PipelineFolder.open(localise(location, storage_options=storage_options, cache=cache))
        if folder.has_image_tokens and "image_encoder" not in folder.components:
            raise ModelError(f"{folder.path}: the transformer attends to image tokens, but there is no image_encoder")
        place = torch.device(device)
        if place.type == "cuda" and not torch.cuda.is_available():
            raise ModelError(f"no {place} on this machine, or this torch cannot use it; device='cpu' works everywhere")
        text = autoencoder = image = None
        experts: list[Transformer] = []
        if "transformer" in wanted:
            dtype = as_dtype(transformer_dtype)
            experts = [
                Transformer.from_pretrained(folder.path / name, dtype=dtype, device=place) for name in folder.experts
            ]
        if "text" in wanted:
            text = TextEncoder.from_pretrained(
                folder.path,
                dtype=as_dtype(text_dtype),
                device=place,
                tokenizer_class=folder.components["tokenizer"],
            )
        if "autoencoder" in wanted:
            autoencoder = Autoencoder.from_pretrained(folder.path, dtype=as_dtype(autoencoder_dtype), device=place)
        if "image" in wanted and folder.has_image_tokens:
            image = ImageEncoder.from_pretrained(folder.path, dtype=as_dtype(text_dtype), device=place)
        sampler = Sampler(folder.scheduler, flow_shift=flow_shift)
        return cls(
            folder, experts=experts, sampler=sampler, text=text, autoencoder=autoencoder, image=image, device=place,
            location=location,
        )  # fmt: skip

    @staticmethod
    def parts_of(rank: int) -> frozenset[str]:
        """Parts that a rank of a gang needs: rank 0 encodes and decodes, the others only denoise."""
        return PARTS if rank == 0 else frozenset({"transformer"})

    @contextmanager
    def saving_memory(self) -> Iterator[Offload]:
        """Within it only the parts at work stand on the device, each as a whole: slower, and the same pictures."""
        parts: dict[str, Sequence[Movable]] = {
            "text": () if self._text is None else (self._text.model,),
            "autoencoder": () if self._autoencoder is None else (self._autoencoder.model,),
            "image": () if self._image is None else (self._image.model,),
        }
        parts |= {f"expert {number}": (expert,) for number, expert in enumerate(self.experts)}
        self._offload = Offload(parts, self.device)
        try:
            yield self._offload
        finally:
            offload, self._offload = self._offload, None
            offload.restore()

    def _at_work(self, *parts: str) -> None:
        if self._offload is not None:
            self._offload.only(*parts)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What `read_facts` says of this folder: defaults, limits, digest. `folder` is where it was loaded from."""
        return {**read_facts(self.folder.path), "folder": self.location}

    def describe(self) -> dict[str, str]:
        """How this pipeline makes pictures, for the record of a take: sampler, form, text cleaning and dtypes."""
        dtypes = {
            "transformer": self.experts[0].dtype if self.experts else None,
            "autoencoder": None if self._autoencoder is None else self._autoencoder.model.dtype,
            "text_encoder": None if self._text is None else self._text.model.dtype,
        }
        loaded = {part: str(dtype).removeprefix("torch.") for part, dtype in dtypes.items() if dtype is not None}
        return {"sampler": self.sampler.description, "form": self.form.name, "text_cleaning": cleaner(), **loaded}

    def grid_of(self, width: int, height: int, frames: int) -> Grid:
        """Latent frames, rows and columns of a clip; raises InputError for a size that is not on the model's grid."""
        folder = self.folder
        rows, columns = (folder.spatial_stride * patch for patch in folder.patch[1:])
        if width < 1 or height < 1 or width % columns or height % rows:
            raise InputError(f"{width}x{height} is not on the model's grid: multiples of {columns}x{rows} are")
        if not isinstance(frames, Integral) or frames < 1 or (frames - 1) % folder.frame_stride:
            raise InputError(f"{frames} frames are not a whole multiple of {folder.frame_stride} plus one")
        return (
            (frames - 1) // folder.frame_stride + 1,
            height // folder.spatial_stride,
            width // folder.spatial_stride,
        )

    def condition_i2v(self, image: NDArray[np.uint8] | bytes, width: int, height: int, frames: int) -> Condition:
        """Condition of image to video: `image` is the first frame.

        Args:
            image: (h, w, 3) uint8, or the bytes of an image file; scaled and cropped to cover the frame.
            width, height, frames: of the clip, on the model's grid.

        Raises:
            InputError: the image or the size cannot be used.
        """
        self.grid_of(width, height, frames)
        picture = cover(decode_image(image) if isinstance(image, bytes) else image, width, height)
        told = self.condition(
            "i2v", Given(image=picture), Clip(width, height, frames, frames, self.folder.frame_stride)
        )
        assert told is not None
        return told.condition

    def condition(self, task: str, given: Given, clip: Clip) -> Told | None:
        """What this checkpoint is told of a clip for a task; None for t2v and still.

        Args:
            given: pixels of the clip's size.
            clip: on the model's grid, and the film that is cut from it.

        Raises:
            InputError: something that the task needs is missing, or does not fit the clip or this checkpoint.
        """
        self.grid_of(clip.width, clip.height, clip.frames)
        self._at_work("autoencoder", "image")
        return build(
            task,
            given,
            clip,
            form=self.form,
            patch=self.folder.patch,
            autoencoder=self._need(self._autoencoder, "autoencoder"),
            image_encoder=self._need(self._image, "image") if self.folder.has_image_tokens else None,
            two_images=self.folder.transformer.get("pos_embed_seq_len") is not None,
        )

    def draw_noise(self, seed: int, grid: Grid, generator: torch.Generator | None = None) -> Tensor:
        """The noise of a take: drawn on the CPU in fp32 from its seed, so that it is the same on every machine."""
        source = generator or torch.Generator("cpu").manual_seed(seed)
        return torch.randn((1, self.folder.latent_channels, *grid), generator=source, dtype=torch.float32)

    @torch.no_grad()
    def denoise(self, prompt: str, *, on_step: OnStep | None = None, **take: Any) -> Tensor:
        """Latents (1, c, t, h, w), fp32, of one take; every rank of a gang gets them.

        Takes what `begin` takes, and `on_step`: called with (steps done, steps) after each one; it may raise to stop,
        and then all ranks leave.

        Raises:
            InputError: a size, condition or setting that this checkpoint cannot use.
            NonFinite: NaN or infinity came out of a step.
            PeerFailed: another rank of the group left.
        """
        with together(take.get("group")):
            begun = self.begin(prompt, **take)
            return begun.denoiser.run(begun.noise, begun.condition, generator=begun.generator, on_step=on_step)

    @torch.no_grad()
    def begin(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        frames: int | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_scale_2: float | None = None,
        condition: Condition | None = None,
        group: ParallelGroup | None = None,
        noise: Tensor | None = None,
    ) -> Begun:
        """What must be there before a take's first step, on every rank: text states, noise, condition.

        Args:
            prompt, negative_prompt: texts as people write them; no negative prompt is the empty one.
            width, height, frames: pixels and frames on the model's grid; the model's own by default.
            seed: of the noise.
            steps: of the scheduler; the model's own by default.
            guidance_scale: for the only or the high-noise expert; 1 or less is no guidance; the model's own by default.
            guidance_scale_2: for the low-noise expert; the same as the other by default.
            condition: what is known; only rank 0's counts.
            group: the ranks that render this take together.
            noise: in place of what the seed gives, (1, c, t, h, w).

        Raises:
            InputError, PeerFailed: as `denoise`.
        """
        width = self.facts["width"] if width is None else width
        height = self.facts["height"] if height is None else height
        frames = self.facts["frames"] if frames is None else frames
        steps = self.facts["steps"] if steps is None else steps
        guidance_scale = self.facts["guidance_scale"] if guidance_scale is None else guidance_scale
        low_noise = guidance_scale if guidance_scale_2 is None else guidance_scale_2
        guidance = Guidance(guidance_scale, low_noise if self.folder.boundary_ratio is not None else guidance_scale)
        grid = self.grid_of(width, height, frames)
        if not isinstance(seed, Integral) or not -(2**63) <= seed < 2**64:
            raise InputError(f"a seed is a whole number of 64 bits, not {seed}")
        generator = torch.Generator("cpu").manual_seed(int(seed))

        def prepare() -> tuple[list[Tensor], Tensor, Tensor, Condition | None]:
            checked = self._checked(condition, grid)
            text = self._need(self._text, "text")
            self._at_work("text")
            prompts = [prompt, negative_prompt or ""] if guidance.wanted else [prompt]
            drawn = self.draw_noise(seed, grid, generator) if noise is None else noise.float().cpu()
            if drawn.shape != (1, self.folder.latent_channels, *grid):
                raise InputError(f"noise of {tuple(drawn.shape)} is not for {frames} frames of {width}x{height}")
            return [text.encode(each).cpu() for each in prompts], drawn, generator.get_state(), checked

        texts, first_noise, state, known = share(group, prepare)
        generator.set_state(state)
        denoiser = Denoiser(
            experts=self._need(self.experts, "transformer"),
            sampler=self.sampler,
            form=self.form,
            frame_stride=self.folder.frame_stride,
            boundary_ratio=self.folder.boundary_ratio,
            texts=[each.to(self.device) for each in texts],
            guidance=guidance,
            steps=steps,
            device=self.device,
            group=group,
            on_expert=lambda number: self._at_work(f"expert {number}"),
        )
        known = None if known is None else known.to(self.device)
        return Begun(denoiser, first_noise.to(self.device), known, generator)

    def encode(self, frames: NDArray[np.uint8]) -> Tensor:
        """Latents (1, c, t, h, w), fp32, of frames (frames, height, width, 3), a multiple of the stride plus one."""
        self._at_work("autoencoder")
        video = rearrange(torch.from_numpy(np.ascontiguousarray(frames)).float() / 127.5 - 1.0, "f h w c -> 1 c f h w")
        return self._need(self._autoencoder, "autoencoder").encode(video)

    def decode(self, latents: Tensor, depth: Depth = "uint8", *, on_latent: OnLatent | None = None) -> Frames:
        """Frames (frames, height, width, 3), uint8 or uint16, of latents (1, c, t, h, w); raises NonFinite.

        `on_latent` is called with (latents done, latents) after each one.
        """
        self._at_work("autoencoder")
        return self._need(self._autoencoder, "autoencoder").decode(latents, depth, on_latent=on_latent)

    def decode_ring(self, latents: Tensor, depth: Depth = "uint8", *, on_latent: OnLatent | None = None) -> Frames:
        """Frames of a clip that is closed in time: its first and last latents are the same one.

        The frame after the last would be the first: the decoder is shown the end before it comes to the beginning.
        They begin with the frames of that latent as the last one, a whole group: 4 (t - 1) frames come of t latents.
        """
        turn = torch.cat([latents[:, :, -1:], latents[:, :, 1:-1]], dim=2)
        shown = [*range(turn.shape[2])] * _RING_LEAD
        ring = torch.cat([turn[:, :, shown[-_RING_LEAD:]], turn], dim=2)
        self._at_work("autoencoder")
        autoencoder = self._need(self._autoencoder, "autoencoder")
        return autoencoder.decode(ring, depth, lead=_RING_LEAD, on_latent=on_latent)

    @overload
    def __call__(self, prompt: str, *, depth: Depth = "uint8", group: None = None, **take: Any) -> Frames: ...

    @overload
    def __call__(
        self, prompt: str, *, depth: Depth = "uint8", group: ParallelGroup | None, **take: Any
    ) -> Frames | None: ...

    def __call__(
        self, prompt: str, *, depth: Depth = "uint8", group: ParallelGroup | None = None, **take: Any
    ) -> Frames | None:
        """Denoises and decodes; takes what `denoise` takes. In a gang, rank 0 gets the frames and the others None."""
        latents = self.denoise(prompt, group=group, **take)
        return self.decode(latents, depth) if group is None or group.rank == 0 else None

    def _checked(self, condition: Condition | None, grid: Grid) -> Condition | None:
        if condition is None:
            if self.form is Form.CHANNELS:
                raise InputError("this checkpoint makes video from an image: it needs a condition")
            return None
        if condition.grid != grid or condition.latents.shape[1] != self.folder.latent_channels:
            raise InputError(
                f"the condition is {tuple(condition.latents.shape)}, but the clip's latents are "
                f"{(1, self.folder.latent_channels, *grid)}"
            )
        if self.folder.has_image_tokens and condition.image_tokens is None:
            raise InputError("this checkpoint attends to the tokens of an image, and the condition has none")
        return condition.to("cpu")

    def _need(self, part: T | None, name: str) -> T:
        if part is None or part == ():
            raise ModelError(f"this rank has not loaded the {name} of {self.folder.path}")
        return part
