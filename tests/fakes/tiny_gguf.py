"""Tiny GGUF models that real engines load, and whose one answer is known.

The language model is a Markov chain: attention and feed-forward weights are zero, so the last token alone
decides the next one. Each token's embedding is a vector of +-1; the output row of a token is the embedding of
the token it follows. Whatever is asked, the answer is ANSWER, and ADAPTED_ANSWER with the adapter.
"""

from __future__ import annotations

import hashlib
import struct
from itertools import pairwise
from pathlib import Path
from typing import Final

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.fakes import raw_gguf

ANSWER: Final = " Hello from a tiny model."
ADAPTED_ANSWER: Final = " Hello from a tiny adapter."
CONTEXT_LENGTH: Final = 512
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)

# What a model that calls a function says; its template is TOOL_TEMPLATE.
TOOL_CALL: Final = ("<tool_call>\n", '{"name":▁"weather",▁"arguments":▁{"city":▁"Rome"}}', "\n</tool_call>")
TOOL_TEMPLATE: Final = (
    "{%- if tools %}{{- '<|im_start|>system\n# Tools\n<tools>' }}"
    "{%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}"
    "{{- '\n</tools><|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content %}{{- message.content }}{%- endif %}"
    '{%- for call in message.tool_calls or [] %}{{- \'\n<tool_call>\n{"name": "\' + call.function.name'
    " + '\", \"arguments\": ' + (call.function.arguments | tojson) + '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

_WORDS: Final = ("▁Hello", "▁from", "▁a", "▁tiny", "▁model.")
_ADAPTED: Final = "▁adapter."
_UNK, _BOS, _EOS = 0, 1, 2
# A matching pair gives gain * n_embd, a chance one at most half of it, and the first word always this share.
_GAIN: Final = 4.0
_FIRST_WORD_SHARE: Final = 0.7

_FILE_TYPES: Final = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M,
}
_TYPES: Final = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}


def write_markov(folder: Path, *, dtype: str = "f16", chat_template: bool = True) -> Path:
    """`dtype`: f32, f16, q8_0, or Q4_K_M (whose zero matrices are zero blocks of Q4_K and Q6_K)."""
    path = folder / f"markov-{dtype}{'' if chat_template else '-plain'}.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    _add_model(writer, dtype, chat_template=chat_template)
    _finish(writer)
    return path


def write_templated(folder: Path, template: str) -> Path:
    """The f16 model with any chat template in the file."""
    path = folder / "markov-templated.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    _add_model(writer, "f16", chat_template=False)
    writer.add_chat_template(template)
    _finish(writer)
    return path


def write_tool_caller(folder: Path) -> Path:
    """Its one answer is the call TOOL_CALL, in the words of TOOL_TEMPLATE, which it carries."""
    path = folder / "markov-tools.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    _add_model(writer, "f16", chat_template=False, words=TOOL_CALL)
    writer.add_chat_template(TOOL_TEMPLATE)
    _finish(writer)
    return path


def write_reranker(folder: Path) -> Path:
    """Takes documents that end in `model.` for the best, whatever the query."""
    path = folder / "markov-reranker.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    _add_model(writer, "f16", chat_template=False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_classifier_output_labels(["yes", "no"])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)  # the last token decides
    tokens, embeddings = _vocabulary(64)
    best = embeddings[tokens.index(_WORDS[-1])] / 8
    writer.add_tensor("cls.output.weight", np.stack([best, -best]).astype(np.float32))
    for name in ("attn_q_norm", "attn_k_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(32, np.float32))
    _finish(writer)
    return path


def write_sharded(folder: Path) -> tuple[Path, ...]:
    """The f16 model as two files, in order."""
    writer = gguf.GGUFWriter(folder / "markov-sharded.gguf", "llama", split_max_tensors=6)
    _add_model(writer, "f16", chat_template=True)
    _finish(writer)
    return tuple(folder / f"markov-sharded-{number:05}-of-00002.gguf" for number in (1, 2))


def write_lora(folder: Path) -> Path:
    """An adapter for the f32, f16 and q8_0 models: rank 1, on the output alone."""
    path = folder / "markov-lora.gguf"
    tokens, embeddings = _vocabulary(64)
    down = embeddings[tokens.index("▁tiny")].reshape(1, -1)
    up = np.zeros((len(tokens), 1), np.float32)
    up[tokens.index(_ADAPTED)], up[tokens.index("▁model.")] = _GAIN, -_GAIN
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    writer.add_tensor("output.weight.lora_a", down)
    writer.add_tensor("output.weight.lora_b", up)
    _finish(writer)
    return path


def write_mmproj(folder: Path) -> Path:
    """A projector that maps every image to zeros: the request is answered, the image changes nothing."""
    path = folder / "mmproj-f16.gguf"
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name("Tiny Projector")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_F16))
    width, patch, side = 64, 8, 32
    for key, value in {
        "image_size": side,
        "patch_size": patch,
        "embedding_length": width,
        "feed_forward_length": width,
        "block_count": 1,
        "projection_dim": width,
        "attention.head_count": 2,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    half, full = np.float16, np.float32
    shapes: dict[str, tuple[tuple[int, ...], type[np.floating]]] = {
        "v.patch_embd.weight": ((width, 3, patch, patch), half),
        "v.position_embd.weight": (((side // patch) ** 2, width), half),
        "v.post_ln.weight": ((width,), full),
        "v.post_ln.bias": ((width,), full),
        "mm.0.weight": ((width, width), half),
        "mm.0.bias": ((width,), full),
        "mm.2.weight": ((width, width), half),
        "mm.2.bias": ((width,), full),
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down"):
        shapes[f"v.blk.0.{name}.weight"] = ((width, width), half)
        shapes[f"v.blk.0.{name}.bias"] = ((width,), full)
    for name in ("ln1", "ln2"):
        shapes[f"v.blk.0.{name}.weight"] = ((width,), full)
        shapes[f"v.blk.0.{name}.bias"] = ((width,), full)
    for name, (shape, dtype) in shapes.items():
        writer.add_tensor(name, np.zeros(shape, dtype))
    _finish(writer)
    return path


def write_importance(folder: Path) -> Path:
    """An importance matrix for `write_markov(dtype="Q4_K_M")`, to which every column matters the same."""
    path = folder / "imatrix.gguf"
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["words"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", CONTEXT_LENGTH)
    blocks = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for name in (*(f"blk.0.{block}" for block in blocks), "token_embd", "output"):
        writer.add_tensor(f"{name}.weight.in_sum2", np.ones((1, 256), np.float32))
        writer.add_tensor(f"{name}.weight.counts", np.ones((1, 1), np.float32))
    _finish(writer)
    return path


def write_big_vocabulary(path: Path, tokens: int) -> Path:
    """A header with as long a vocabulary as wanted (tokens, scores, types, merges) and one small tensor."""
    texts = b"".join(struct.pack("<Q", 10) + b"tok%07d" % number for number in range(tokens))
    merges = b"".join(
        struct.pack("<Q", 11) + b"%05d %05d" % divmod(number, 99_991) for number in range(tokens)
    )
    keys = [
        raw_gguf.pair("general.architecture", raw_gguf.STRING, "llama"),
        raw_gguf.pair("general.file_type", raw_gguf.U32, 0),
        raw_gguf.pair("llama.context_length", raw_gguf.U32, CONTEXT_LENGTH),
        raw_gguf.array("tokenizer.ggml.tokens", raw_gguf.STRING, (), tokens) + texts,
        raw_gguf.array("tokenizer.ggml.scores", raw_gguf.F32, (), tokens) + bytes(4 * tokens),
        raw_gguf.array("tokenizer.ggml.token_type", raw_gguf.I32, (), tokens) + bytes(4 * tokens),
        raw_gguf.array("tokenizer.ggml.merges", raw_gguf.STRING, (), tokens) + merges,
        raw_gguf.pair("tokenizer.ggml.model", raw_gguf.STRING, "gpt2"),
    ]
    path.write_bytes(raw_gguf.gguf(keys, [raw_gguf.tensor("output_norm.weight", [32])], bytes(128)))
    return path


def _vocabulary(
    width: int, words: tuple[str, ...] = (*_WORDS, _ADAPTED)
) -> tuple[list[str], NDArray[np.float32]]:
    """Tokens and their embeddings."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    tokens += [chr(code) for code in range(0x21, 0x7F)]
    for word in words:
        tokens += [word[:end] for end in range(2, len(word) + 1) if word[:end] not in tokens]
    # A hash instead of a generator of random numbers: the same bytes with every version of numpy.
    noise = hashlib.shake_256(b"tiny markov").digest(len(tokens) * width // 8)
    bits = np.unpackbits(np.frombuffer(noise, np.uint8)).reshape(len(tokens), width)
    embeddings = bits.astype(np.float32) * 2 - 1
    embeddings[:, -1] = 1
    return tokens, embeddings


def _add_model(
    writer: gguf.GGUFWriter, dtype: str, *, chat_template: bool, words: tuple[str, ...] = _WORDS
) -> None:
    width = 256 if dtype == "Q4_K_M" else 64
    heads, kv_heads = 2, 1
    kv_width = width // heads * kv_heads
    ends = (words[-1], _ADAPTED) if words is _WORDS else (words[-1],)
    tokens, embeddings = _vocabulary(width, (*words[:-1], *ends))
    writer.add_type("model")
    writer.add_name("Tiny Markov")
    writer.add_license("Apache-2.0")
    writer.add_file_type(int(_FILE_TYPES[dtype]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    _add_tokenizer(writer, tokens, chat_template=chat_template)
    _add_matrix(writer, "token_embd.weight", embeddings, dtype)
    for name, shape, quantized in (
        ("attn_q", (width, width), "Q4_K"),
        ("attn_k", (kv_width, width), "Q4_K"),
        ("attn_v", (kv_width, width), "Q6_K"),
        ("attn_output", (width, width), "Q4_K"),
        ("ffn_gate", (width, width), "Q4_K"),
        ("ffn_up", (width, width), "Q4_K"),
        ("ffn_down", (width, width), "Q6_K"),
    ):
        if dtype == "Q4_K_M":
            _add_zero_blocks(writer, f"blk.0.{name}.weight", shape, gguf.GGMLQuantizationType[quantized])
        else:
            _add_matrix(writer, f"blk.0.{name}.weight", np.zeros(shape, np.float32), dtype)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    _add_matrix(writer, "output.weight", _output(tokens, embeddings, words, ends), dtype)


def _add_tokenizer(writer: gguf.GGUFWriter, tokens: list[str], *, chat_template: bool) -> None:
    types = [gguf.TokenType.NORMAL] * len(tokens)
    types[:3] = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types[3:259] = [gguf.TokenType.BYTE] * 256
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    # Longer words are built from their prefixes: any order of scores will do.
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types([int(kind) for kind in types])
    writer.add_unk_token_id(_UNK)
    writer.add_bos_token_id(_BOS)
    writer.add_eos_token_id(_EOS)
    if chat_template:
        writer.add_chat_template(CHAT_TEMPLATE)


def _output(
    tokens: list[str], embeddings: NDArray[np.float32], words: tuple[str, ...], ends: tuple[str, ...]
) -> NDArray[np.float32]:
    output = np.zeros_like(embeddings)
    for word, following in pairwise(words):
        output[tokens.index(following)] = _GAIN * embeddings[tokens.index(word)]
    for last in ends:
        output[_EOS] += _GAIN * embeddings[tokens.index(last)]
    # The last dimension is 1 for every token.
    output[tokens.index(words[0]), -1] = _FIRST_WORD_SHARE * _GAIN * embeddings.shape[1]
    return output


def _add_matrix(writer: gguf.GGUFWriter, name: str, matrix: NDArray[np.float32], dtype: str) -> None:
    kind = _TYPES.get(dtype, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor(name, gguf.quantize(matrix, kind), raw_dtype=kind)


def _add_zero_blocks(
    writer: gguf.GGUFWriter, name: str, shape: tuple[int, int], kind: gguf.GGMLQuantizationType
) -> None:
    """The `gguf` package cannot quantize to K-quants, but a block of zeros is all zero bytes."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    writer.add_tensor(name, np.zeros((shape[0], shape[1] // elements * size), np.uint8), raw_dtype=kind)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
