"""The video autoencoder (diffusers' AutoencoderKLWan) and the image encoder, behind plain arrays and tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from model.errors import InputError, ModelError, NonFinite
from model.text import no_progress_bars

Depth = Literal["uint8", "uint16"]
Frames: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
OnLatent = Callable[[int, int], None]


class Autoencoder:
    """Frames to normalised latents and back.

    Latents are normalised per channel by the folder's `latents_mean` and `latents_std`, as the transformer knows them.
    """

    def __init__(self, model: Any) -> None:
        """`model`: an AutoencoderKLWan in its working dtype, on its device."""
        self.model = model
        config = model.config
        self.channels, self.frame_stride = int(config.z_dim), int(config.scale_factor_temporal)
        self.spatial_stride = int(config.scale_factor_spatial)
        self._mean = rearrange(torch.tensor(config.latents_mean), "c -> 1 c 1 1 1").to(model.device)
        self._std = rearrange(torch.tensor(config.latents_std), "c -> 1 c 1 1 1").to(model.device)

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
    ) -> Autoencoder:
        """Loads `folder/vae` (safetensors only); raises ModelError when files are missing or do not fit."""
        from diffusers import AutoencoderKLWan

        try:
            model = AutoencoderKLWan.from_pretrained(
                folder / "vae", torch_dtype=dtype, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"the autoencoder of {folder} cannot be loaded: {error}") from error
        return cls(model.to(device).eval().requires_grad_(False))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Most likely latents (1, c, t, h, w), normalised, fp32, of a video (1, 3, frames, height, width) in -1..1.

        Raises:
            InputError: the number of frames is not a multiple of the stride plus one, or the size does not divide.
        """
        frames, height, width = video.shape[2:]
        if frames % self.frame_stride != 1 or height % self.spatial_stride or width % self.spatial_stride:
            raise InputError(
                f"{frames} frames of {width}x{height}: frames must be a multiple of {self.frame_stride} plus one, "
                f"sides multiples of {self.spatial_stride}"
            )
        posterior = self.model.encode(video.to(self.model.device, self.model.dtype)).latent_dist
        # Times the reciprocal, as diffusers does, so that the same image gives the same bits.
        latents: Tensor = (posterior.mode().float() - self._mean) * (1.0 / self._std)
        return latents

    @torch.no_grad()
    def decode(
        self, latents: Tensor, depth: Depth = "uint8", *, lead: int = 0, on_latent: OnLatent | None = None
    ) -> Frames:
        """Frames (frames, height, width, 3) of normalised latents (1, c, t, h, w).

        Latents are decoded one by one in their order, each with what the decoder remembers of those before it, and
        leave as whole numbers: a long clip needs no more memory than a short one, its frames apart.

        Args:
            depth: of the frames.
            lead: latents at the front that the decoder is only shown; their frames are left out.
            on_latent: called with (latents done, latents) after each one.

        Raises:
            NonFinite: NaN or infinity among the decoded values.
        """
        if latents.ndim != 5 or latents.shape[0] != 1 or latents.shape[1] != self.channels:
            raise InputError(f"latents are {tuple(latents.shape)}, not (1, {self.channels}, t, h, w)")
        dtype = self.model.dtype
        # In the working dtype and in this order, as diffusers does it.
        z = latents.to(self.model.device, dtype) / (1.0 / self._std.to(dtype)) + self._mean.to(dtype)
        count, height, width = z.shape[2:]
        left_out = 1 + (lead - 1) * self.frame_stride if lead else 0
        shape = (
            1 + (count - 1) * self.frame_stride - left_out,
            height * self.spatial_stride,
            width * self.spatial_stride,
        )
        frames: Any = np.empty((*shape, 3), np.uint8 if depth == "uint8" else np.uint16)
        top, done = (255.0 if depth == "uint8" else 65535.0), 0
        for index, video in enumerate(self._stream(z)):
            if index >= lead:
                scaled = ((video[0] * 0.5 + 0.5).clamp(0.0, 1.0) * top).round()
                found = rearrange(scaled, "c t h w -> t h w c").cpu().numpy()
                frames[done : done + len(found)] = found
                done += len(found)
            if on_latent is not None:
                on_latent(index + 1, count)
        return frames

    def _stream(self, z: Tensor) -> Iterator[Tensor]:
        """Frames (1, 3, n, height, width), fp32, of each latent in turn: what AutoencoderKLWan.decode joins to one."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, unpatchify

        decoder, patch = self.model.decoder, self.model.config.patch_size
        memory: list[Any] = [None] * sum(isinstance(part, WanCausalConv3d) for part in decoder.modules())
        latents = self.model.post_quant_conv(z)
        for index in range(z.shape[2]):
            out = decoder(
                latents[:, :, index : index + 1], feat_cache=memory, feat_idx=[0], first_chunk=index == 0
            )  # fmt: skip
            if not bool(torch.isfinite(out).all()):  # before it is clamped: infinity would become white or black
                raise NonFinite(None, "frames")
            yield (out if patch is None else unpatchify(out, patch_size=patch)).clamp(-1.0, 1.0).float()


class ImageEncoder:
    """CLIP's tokens of an image, for Wan 2.1's image-to-video checkpoints."""

    def __init__(self, processor: Any, model: Any) -> None:
        self.processor, self.model = processor, model

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> ImageEncoder:
        """Loads `folder/image_processor` and `folder/image_encoder` (safetensors only)."""
        from transformers import CLIPImageProcessor, CLIPVisionModel

        try:
            processor = CLIPImageProcessor.from_pretrained(folder / "image_processor", local_files_only=True)
            with no_progress_bars():
                model: Any = CLIPVisionModel.from_pretrained(
                    folder / "image_encoder", dtype=dtype, use_safetensors=True, local_files_only=True
                )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"the image encoder of {folder} cannot be loaded: {error}") from error
        return cls(processor, model.to(device).eval().requires_grad_(False))

    @torch.no_grad()
    def encode(self, image: NDArray[np.uint8]) -> Tensor:
        """Tokens (1, n, width) of an image (height, width, 3): the states before CLIP's last layer."""
        from PIL import Image

        pixels = self.processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"]
        found = self.model(pixels.to(self.model.device, self.model.dtype), output_hidden_states=True)
        tokens: Tensor = found.hidden_states[-2]
        return tokens
