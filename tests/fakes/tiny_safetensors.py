"""Tiny Safetensors models that real engines load and whose one answer is known; skeletons of image models.

The language models are Markov chains: attention and feed-forward are computed but lead to nothing (their last
matrices are zero), so the last token alone decides the next one. Each token's embedding is a vector of +-1;
the output row of a token is the embedding of the token it follows. Whatever is asked, the answer is ANSWER.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrpack.readable import ReadableFile, open_file
from tests.fakes.raw_safetensors import Content, index, safetensors

ANSWER: Final = " Hello from a tiny model."
CONTEXT_SIZE: Final = 512
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)

_BOS, _EOS = "<s>", "</s>"
_WORDS: Final = ("ĠHello", "Ġfrom", "Ġa", "Ġtiny", "Ġmodel.")
_VOCABULARY: Final = 512
_WIDTH, _INNER, _LAYERS, _HEADS, _KV_HEADS = 64, 128, 2, 2, 1
_KV_WIDTH: Final = _WIDTH // _HEADS * _KV_HEADS
# A matching pair gives gain * width, a chance one at most half of it, and the first word always this share.
_GAIN: Final = 4.0
_FIRST_WORD_SHARE: Final = 0.7

LLAMA_PARAMETERS: Final = (
    2 * _VOCABULARY * _WIDTH
    + _WIDTH
    + _LAYERS * (2 * _WIDTH * _WIDTH + 2 * _KV_WIDTH * _WIDTH + 3 * _WIDTH * _INNER + 2 * _WIDTH)
)
QWEN2_PARAMETERS: Final = LLAMA_PARAMETERS + _LAYERS * (_WIDTH + 2 * _KV_WIDTH)


def write_llama(folder: Path, *, shards: int = 1) -> Path:
    """A LlamaForCausalLM in bfloat16, in one file or in several with an index; about 300 kB."""
    return _write_model(folder, "llama", "LlamaForCausalLM", _language_model(biases=False), shards)


def write_qwen2(folder: Path, *, shards: int = 1) -> Path:
    return _write_model(folder, "qwen2", "Qwen2ForCausalLM", _language_model(biases=True), shards)


def opened(folder: Path) -> tuple[ReadableFile, ...]:
    """All files of a model, as the readers want them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(open_file(path, path.relative_to(folder).as_posix()) for path in paths)


def write_files(folder: Path, files: Mapping[str, bytes | str | dict[str, Any]]) -> Path:
    """Texts, bytes, and JSON documents."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=2) + "\n" if isinstance(content, dict) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def _write_model(
    folder: Path, model_type: str, architecture: str, tensors: Mapping[str, Content], shards: int
) -> Path:
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": _WIDTH,
        "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "head_dim": _WIDTH // _HEADS,
        "max_position_embeddings": CONTEXT_SIZE,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": _VOCABULARY,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    write_files(
        folder,
        {
            "config.json": config,
            "generation_config.json": {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False},
            "chat_template.jinja": CHAT_TEMPLATE,
            "tokenizer.json": _tokenizer(),
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": _BOS,
                "eos_token": _EOS,
                "model_max_length": CONTEXT_SIZE,
                "clean_up_tokenization_spaces": False,
            },
            "README.md": "# A tiny model for tests\n",
        },
    )
    return write_files(folder, _weight_files(tensors, shards))


def _weight_files(tensors: Mapping[str, Content], shards: int) -> dict[str, bytes | str | dict[str, Any]]:
    metadata = {"format": "pt"}
    if shards == 1:
        return {"model.safetensors": safetensors(tensors, metadata)}
    files: dict[str, bytes | str | dict[str, Any]] = {}
    weight_map: dict[str, str] = {}
    names = list(tensors)
    each = -(-len(names) // shards)
    for number in range(shards):
        own = {name: tensors[name] for name in names[number * each : (number + 1) * each]}
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        files[name] = safetensors(own, metadata)
        weight_map |= dict.fromkeys(own, name)
    size = sum(len(tensor.to_bytes()) for tensor in tensors.values())
    files["model.safetensors.index.json"] = index(dict(sorted(weight_map.items())), total_size=size)
    return files


def _language_model(*, biases: bool) -> dict[str, Content]:
    tokens = _tokens()
    embeddings = np.zeros((_VOCABULARY, _WIDTH), np.float32)
    # A hash instead of a generator of random numbers: the same bytes with every version of numpy.
    noise = hashlib.shake_256(b"tiny markov").digest(_VOCABULARY * _WIDTH // 8)
    embeddings += np.unpackbits(np.frombuffer(noise, np.uint8)).reshape(embeddings.shape)
    embeddings = embeddings * 2 - 1
    embeddings[:, -1] = 1
    tensors = {"model.embed_tokens.weight": _bf16(embeddings)}
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}"
        for name, shape in (
            ("self_attn.q_proj", (_WIDTH, _WIDTH)),
            ("self_attn.k_proj", (_KV_WIDTH, _WIDTH)),
            ("self_attn.v_proj", (_KV_WIDTH, _WIDTH)),
            ("mlp.gate_proj", (_INNER, _WIDTH)),
            ("mlp.up_proj", (_INNER, _WIDTH)),
        ):
            tensors[f"{prefix}.{name}.weight"] = _bf16(_noise(f"{prefix}.{name}", shape))
        tensors[f"{prefix}.self_attn.o_proj.weight"] = Content("BF16", (_WIDTH, _WIDTH))
        tensors[f"{prefix}.mlp.down_proj.weight"] = Content("BF16", (_WIDTH, _INNER))
        if biases:
            for name, length in (("q_proj", _WIDTH), ("k_proj", _KV_WIDTH), ("v_proj", _KV_WIDTH)):
                tensors[f"{prefix}.self_attn.{name}.bias"] = Content("BF16", (length,))
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{name}.weight"] = _bf16(np.ones(_WIDTH, np.float32))
    tensors["model.norm.weight"] = _bf16(np.ones(_WIDTH, np.float32))
    tensors["lm_head.weight"] = _bf16(_output(tokens, embeddings))
    return tensors


def _output(tokens: list[str], embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    output = np.zeros_like(embeddings)
    for word, following in zip(_WORDS, [*_WORDS[1:], _EOS], strict=True):
        output[tokens.index(following)] = _GAIN * embeddings[tokens.index(word)]
    # The last dimension is 1 for every token.
    output[tokens.index(_WORDS[0]), -1] = _FIRST_WORD_SHARE * _GAIN * _WIDTH
    return output


def _noise(seed: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Within +-1/16."""
    raw = hashlib.shake_256(seed.encode()).digest(shape[0] * shape[1])
    return (np.frombuffer(raw, np.int8).astype(np.float32) / 2048).reshape(shape)


def _bf16(values: NDArray[np.float32]) -> Content:
    """Rounded to even, as torch does."""
    bits = values.astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return Content("BF16", values.shape, rounded.astype("<u2").tobytes())


def _byte_characters() -> list[str]:
    """The printable stand-ins of byte-level tokenizers, as GPT-2 chose them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {byte: chr(byte) for byte in printable}
    stand_ins |= {byte: chr(256 + number) for number, byte in enumerate(others)}
    return [stand_ins[byte] for byte in range(256)]


def _tokens() -> list[str]:
    """Longer words are built from their prefixes."""
    tokens = [_BOS, _EOS, *_byte_characters()]
    for word in _WORDS:
        tokens += [word[:end] for end in range(2, len(word) + 1) if word[:end] not in tokens]
    return tokens


def _tokenizer() -> dict[str, Any]:
    tokens = _tokens()
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": tokens[number], **special} for number in (0, 1)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [[token[:-1], token[-1]] for token in tokens[2:] if len(token) > 1],
        },
    }


def write_stable_diffusion(folder: Path) -> Path:
    """Headers and layout of a StableDiffusionPipeline; its weights are too few to draw anything."""
    processor = {"preprocessor_config.json": {"size": 224}}
    return _write_pipeline(
        folder,
        "StableDiffusionPipeline",
        {
            "safety_checker": (None, None, {}),
            "feature_extractor": ("transformers", "CLIPImageProcessor", processor),
            "scheduler": ("diffusers", "DDIMScheduler", {"scheduler_config.json": {"steps_offset": 1}}),
            "text_encoder": ("transformers", "CLIPTextModel", _encoder()),
            "tokenizer": ("transformers", "CLIPTokenizer", _clip_tokenizer()),
            "unet": ("diffusers", "UNet2DConditionModel", _model({"conv_in.weight": (32, 4, 3, 3)})),
            "vae": ("diffusers", "AutoencoderKL", _model({"encoder.conv_in.weight": (32, 3, 3, 3)})),
        },
    )


# What is said of the pipeline of `write_flux`.
FLUX_COMPONENTS = {
    "pipeline": "FluxPipeline",
    "component.scheduler": "diffusers.FlowMatchEulerDiscreteScheduler",
    "component.text_encoder": "transformers.CLIPTextModel",
    "component.text_encoder_2": "transformers.T5EncoderModel",
    "component.tokenizer": "transformers.CLIPTokenizer",
    "component.tokenizer_2": "transformers.T5TokenizerFast",
    "component.transformer": "diffusers.FluxTransformer2DModel",
    "component.vae": "diffusers.AutoencoderKL",
}


def write_flux(folder: Path) -> Path:
    """A FluxPipeline with two text encoders, the second in shards; skeleton as that of Stable Diffusion."""
    t5 = {f"encoder.block.{number}.weight": Content("BF16", (16, 16)) for number in range(4)}
    sharded = _weight_files(t5, 2)
    scheduler = {"scheduler_config.json": {"shift": 1.0}}
    tokenizer = {"tokenizer_config.json": {"model_max_length": 512}, "spiece.model": b"\n\x07\n\x01a\x15"}
    return _write_pipeline(
        folder,
        "FluxPipeline",
        {
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", scheduler),
            "text_encoder": ("transformers", "CLIPTextModel", _encoder()),
            "text_encoder_2": ("transformers", "T5EncoderModel", {"config.json": {"d_model": 16}, **sharded}),
            "tokenizer": ("transformers", "CLIPTokenizer", _clip_tokenizer()),
            "tokenizer_2": ("transformers", "T5TokenizerFast", tokenizer),
            "transformer": ("diffusers", "FluxTransformer2DModel", _model({"x_embedder.weight": (64, 64)})),
            "vae": ("diffusers", "AutoencoderKL", _model({"encoder.conv_in.weight": (32, 3, 3, 3)})),
        },
    )


_Files = dict[str, bytes | str | dict[str, Any]]


def _write_pipeline(
    folder: Path, class_name: str, components: Mapping[str, tuple[str | None, str | None, _Files]]
) -> Path:
    listed = {name: [library, class_name] for name, (library, class_name, _) in components.items()}
    index_document = {"_class_name": class_name, "_diffusers_version": "0.42.1", **listed}
    write_files(folder, {"model_index.json": index_document})
    for name, (_, _, files) in components.items():
        write_files(folder / name, files)
    return folder


def _weighted(stem: str, shapes: Mapping[str, tuple[int, ...]]) -> _Files:
    tensors = {name: Content("F32", shape) for name, shape in shapes.items()}
    content = safetensors(tensors, {"format": "pt"})
    return {"config.json": {"torch_dtype": "float32"}, f"{stem}.safetensors": content}


def _model(shapes: Mapping[str, tuple[int, ...]]) -> _Files:
    return _weighted("diffusion_pytorch_model", shapes)


def _encoder() -> _Files:
    return _weighted("model", {"text_model.weight": (32, 32)})


def _clip_tokenizer() -> _Files:
    return {
        "tokenizer_config.json": {"model_max_length": 77},
        "vocab.json": {"a": 0, "b": 1},
        "merges.txt": "#version: 0.2\n",
    }
