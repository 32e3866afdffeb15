"""The settings of llama.cpp: none takes a path, a URL, a host, a port, or text that is taken for a flag."""

from __future__ import annotations

from typing import Final

from mrpack.model.overrides.kinds import Choice, Kind, Real, Switch, Whole
from mrpack.model.overrides.objects import Variables
from mrpack.model.overrides.settings import Setting

_CACHE: Final = Choice(("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"))


def _row(name: str, kind: Kind, meaning: str, unit: str = "") -> Setting:
    """The flags of llama-server have the same names."""
    return Setting(
        f"llamacpp.{name}", kind, meaning, unit, source=f"llama-server `--{name.replace('_', '-')}`"
    )


# fmt: off
LLAMACPP: Final = (
    # batches and memory
    _row("threads_batch", Whole(1, 512), "for prompts", "threads"),
    _row("batch_size", Whole(1), "of a prompt, at once", "tokens"),
    _row("ubatch_size", Whole(1), "of a batch, in one computation", "tokens"),
    _row("n_gpu_layers", Whole(-1), "kept in the memory of the GPU; -1: as many as fit", "layers"),
    _row("main_gpu", Whole(), "the GPU for what is not split"),
    _row("split_mode", Choice(("none", "layer", "row")), "how a model is spread over GPUs"),
    _row("n_cpu_moe", Whole(), "whose experts stay with the CPU", "layers"),
    _row("flash_attn", Choice(("on", "off", "auto")), "flash attention"),
    _row("cache_type_k", _CACHE, "how the keys of the context are kept"),
    _row("cache_type_v", _CACHE, "how the values of the context are kept"),
    _row("kv_offload", Switch(), "keep the context in the memory of the GPU"),
    _row("kv_unified", Switch(), "one context that requests share"),
    _row("swa_full", Switch(), "keep all of a sliding window's context"),
    _row("mmap", Switch(), "map the weights rather than read them"),
    _row("op_offload", Switch(), "let the GPU compute with weights that are not in its memory"),
    _row("repack", Switch(), "rearrange the weights for the CPU"),
    _row("numa", Choice(("distribute", "isolate", "numactl")), "memory of machines with several nodes"),
    _row("warmup", Switch(), "run the model once before the first request"),
    _row("check_tensors", Switch(), "look for invalid values when loading"),
    # context
    _row("rope_scaling", Choice(("none", "linear", "yarn")), "how positions are stretched"),
    _row("rope_freq_base", Real(0, 1e12), "base frequency of positions"),
    _row("rope_freq_scale", Real(0, 1e3), "factor for frequencies of positions"),
    _row("yarn_orig_ctx", Whole(), "context that the model was trained with", "tokens"),
    _row("yarn_ext_factor", Real(-1, 1e3), "YaRN extrapolation; -1: from the model"),
    _row("yarn_attn_factor", Real(-1, 1e3), "YaRN attention magnitude"),
    _row("yarn_beta_fast", Real(-1, 1e3), "YaRN beta fast"),
    _row("yarn_beta_slow", Real(-1, 1e3), "YaRN beta slow"),
    _row("context_shift", Switch(), "drop the oldest tokens when the context is full"),
    _row("keep", Whole(-1), "of the prompt, kept when others are dropped; -1: all", "tokens"),
    # prompt cache
    _row("cache_prompt", Switch(), "go on from the part of a prompt that is known"),
    _row("cache_reuse", Whole(), "shortest known part that is moved to its new place", "tokens"),
    _row("cache_ram", Whole(-1), "for prompts that are not in use; -1: no limit", "MiB"),
    _row("slot_prompt_similarity", Real(0, 1), "share of a prompt that must match a slot"),
    # answers
    _row("n_predict", Whole(-1), "longest answer; -1: no limit", "tokens"),
    Setting(
        "llamacpp.speculative",
        Choice(("none", "ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache")),
        "guess ahead from what the text has had before; answers stay the same",
        source="llama-server `--spec-type`",
    ),
    _row("special", Switch(), "write special tokens into answers"),
    _row("pooling", Choice(("mean", "cls", "last")), "how tokens become one embedding"),
    _row("jinja", Switch(), "run the model's chat template as Jinja"),
    _row("chat_template_kwargs", Variables(), "variables of the chat template"),
    _row("reasoning", Choice(("on", "off", "auto")), "let the model think before it answers"),
    _row("reasoning_format", Choice(("none", "auto", "deepseek", "deepseek-legacy")), "where thoughts go"),
    _row("reasoning_budget", Whole(-1), "for thinking; -1: no limit", "tokens"),
    Setting(
        "llamacpp.lora_scale",
        Real(-100, 100),
        "how much the model's LoRA adapters count; 1 when it is not set",
        source="llama-server `--lora-scaled`",
    ),
    _row("image_min_tokens", Whole(1), "fewest for an image", "tokens"),
    _row("image_max_tokens", Whole(1), "most for an image", "tokens"),
)
# fmt: on
