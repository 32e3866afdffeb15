"""Tiny image pipelines that Diffusers loads and draws with, written by Diffusers itself.

A program for the Python of the engine: `python tests/fakes/tiny_pipelines.py OUT` writes the folders FOLDERS.
Their weights are random but seeded: the same versions of the libraries write the same bytes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

FOLDERS: Final = ("stable-diffusion", "flux")
_SEED: Final = 20_260_101
_PROMPT_LENGTH: Final = 77
_START, _END = "<|startoftext|>", "<|endoftext|>"
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main(out: Path) -> None:
    os.environ |= _OFFLINE
    import torch

    for name, make in (("stable-diffusion", _stable_diffusion), ("flux", _flux)):
        torch.manual_seed(_SEED)
        make().save_pretrained(out / name, safe_serialization=True)


def _stable_diffusion() -> Any:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    tokenizer = _clip_tokenizer()
    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            block_out_channels=(16, 32),
            layers_per_block=1,
            sample_size=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
        ),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=64,
        ),
        text_encoder=_clip_encoder(tokenizer),
        tokenizer=tokenizer,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _flux() -> Any:
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    tokenizer = _clip_tokenizer()
    t5 = T5Config(d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=2, vocab_size=256)
    pieces: list[tuple[str, float]] = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pieces += [(chr(code), -4.0) for code in range(0x21, 0x7F)]
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            block_out_channels=(4, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=1,
            norm_num_groups=2,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.06,
            scaling_factor=1.5,
            sample_size=64,
        ),
        text_encoder=_clip_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer_2=T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=_PROMPT_LENGTH),
    )


def _clip_tokenizer() -> CLIPTokenizer:
    """One token a byte and another for a byte that ends a word, as CLIP has them; no merges."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    with tempfile.TemporaryDirectory() as place:
        Path(place, "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
        Path(place, "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(place, model_max_length=_PROMPT_LENGTH)


def _clip_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=32,
        vocab_size=len(tokenizer),
        max_position_embeddings=_PROMPT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
