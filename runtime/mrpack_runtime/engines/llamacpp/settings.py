"""The settings below `llamacpp.` as each launcher spells them.

mrpack.model.overrides.llamacpp says what values they take; together they are allow-list and command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

GROUP: Final = "llamacpp"


@dataclass(frozen=True, slots=True)
class Option:
    """An empty spelling: that launcher does not have it.

    `flag` of llama-server, `older` before it was renamed; a switch is `--on/--off`, with an empty half where
    silence says it. `attribute` of xllamacpp's CommonParams, dots for its parts, `!` for the opposite truth
    value; `words` are its words where they are not ours in capitals. `setting` of llama_cpp.server, whose
    numbers for our words are in `codes`.
    """

    name: str
    flag: str
    attribute: str = ""
    setting: str = ""
    older: str = field(default="", kw_only=True)
    words: Mapping[Any, str | int] = field(default_factory=dict, kw_only=True)
    codes: Mapping[Any, int | bool | str | None] = field(default_factory=dict, kw_only=True)


# enum ggml_type in ggml.h
_CACHE: Final = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}

# llama_cpp.server has one way to look up what comes next.
_GUESSES: Final = ("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache")

# fmt: off
OPTIONS: Final = (
    # name, llama-server, xllamacpp, llama_cpp.server
    Option("threads_batch", "--threads-batch", "cpuparams_batch.n_threads", "n_threads_batch"),
    Option("batch_size", "--batch-size", "n_batch", "n_batch"),
    Option("ubatch_size", "--ubatch-size", "n_ubatch", "n_ubatch"),
    Option("n_gpu_layers", "--n-gpu-layers", "n_gpu_layers", "n_gpu_layers"),
    Option("main_gpu", "--main-gpu", "main_gpu", "main_gpu"),
    Option("split_mode", "--split-mode", "split_mode", "split_mode", codes={"none": 0, "layer": 1, "row": 2}),
    Option("n_cpu_moe", "--n-cpu-moe"),
    Option("flash_attn", "--flash-attn", "flash_attn_type", "flash_attn",
           words={"on": "ENABLED", "off": "DISABLED"}, codes={"on": True, "off": False, "auto": False}),
    Option("cache_type_k", "--cache-type-k", "cache_type_k", "type_k", codes=_CACHE),
    Option("cache_type_v", "--cache-type-v", "cache_type_v", "type_v", codes=_CACHE),
    Option("kv_offload", "--kv-offload/--no-kv-offload", "!no_kv_offload", "offload_kqv"),
    Option("kv_unified", "--kv-unified/--no-kv-unified", "kv_unified"),
    Option("swa_full", "--swa-full/", "swa_full"),
    Option("mmap", "--load-mode mmap/--load-mode none", "load_mode", "use_mmap",
           older="--mmap/--no-mmap", words={True: "MMAP", False: "NONE"}),
    Option("op_offload", "--op-offload/--no-op-offload", "!no_op_offload"),
    Option("repack", "--repack/--no-repack", "!no_extra_bufts"),
    Option("numa", "--numa", "numa", "numa", codes={"distribute": 1, "isolate": 2, "numactl": 3}),
    Option("warmup", "--warmup/--no-warmup", "warmup"),
    Option("check_tensors", "--check-tensors/", "check_tensors"),
    Option("rope_scaling", "--rope-scaling", "rope_scaling_type", "rope_scaling_type",
           codes={"none": 0, "linear": 1, "yarn": 2}),
    Option("rope_freq_base", "--rope-freq-base", "rope_freq_base", "rope_freq_base"),
    Option("rope_freq_scale", "--rope-freq-scale", "rope_freq_scale", "rope_freq_scale"),
    Option("yarn_orig_ctx", "--yarn-orig-ctx", "yarn_orig_ctx", "yarn_orig_ctx"),
    Option("yarn_ext_factor", "--yarn-ext-factor", "yarn_ext_factor", "yarn_ext_factor"),
    Option("yarn_attn_factor", "--yarn-attn-factor", "yarn_attn_factor", "yarn_attn_factor"),
    Option("yarn_beta_fast", "--yarn-beta-fast", "yarn_beta_fast", "yarn_beta_fast"),
    Option("yarn_beta_slow", "--yarn-beta-slow", "yarn_beta_slow", "yarn_beta_slow"),
    Option("context_shift", "--context-shift/--no-context-shift", "ctx_shift"),
    Option("keep", "--keep", "n_keep"),
    Option("cache_prompt", "--cache-prompt/--no-cache-prompt", "cache_prompt"),
    Option("cache_reuse", "--cache-reuse", "n_cache_reuse"),
    Option("cache_ram", "--cache-ram", "cache_ram_mib"),
    Option("slot_prompt_similarity", "--slot-prompt-similarity", "slot_prompt_similarity"),
    Option("n_predict", "--n-predict", "n_predict"),
    Option("speculative", "--spec-type", "speculative.types", "draft_model",
           codes=dict.fromkeys(_GUESSES, "prompt-lookup-decoding") | {"none": None}),
    Option("special", "--special/", "special"),
    Option("pooling", "--pooling", "pooling_type", "pooling_type", codes={"mean": 1, "cls": 2, "last": 3}),
    Option("jinja", "--jinja/--no-jinja", "use_jinja"),
    Option("chat_template_kwargs", "--chat-template-kwargs", "default_template_kwargs",
           "chat_template_kwargs"),
    Option("reasoning", "--reasoning", "enable_reasoning", words={"on": 1, "off": 0, "auto": -1}),
    Option("reasoning_format", "--reasoning-format", "reasoning_format",
           words={"deepseek-legacy": "DEEPSEEK_LEGACY"}),
    Option("reasoning_budget", "--reasoning-budget", "sampling.reasoning_budget_tokens"),
    Option("lora_scale", ""),  # all launchers say it with the adapters themselves
    Option("image_min_tokens", "--image-min-tokens", "image_min_tokens"),
    Option("image_max_tokens", "--image-max-tokens", "image_max_tokens"),
)
# fmt: on
BY_NAME: Final[Mapping[str, Option]] = {option.name: option for option in OPTIONS}
