"""The settings that every engine understands."""

from __future__ import annotations

from typing import Final

from mrpack.model.config import CONTEXT_SIZE_LIMIT
from mrpack.model.overrides.duration import Duration
from mrpack.model.overrides.kinds import Choice, Real, Texts, Whole
from mrpack.model.overrides.settings import Setting

_OPENAI: Final = "OpenAI API, chat completions"
_SAMPLERS: Final = "llama.cpp, sampling parameters"
# An OpenAI request takes 4; templates of models bring up to about ten.
_STOPS: Final = Texts(16, 256)

GENERAL: Final = (
    Setting(
        "mode",
        Choice(("completion", "embedding", "reranking", "image-generation")),
        "what the model is for",
        source="Docker Model Runner, `_configure`",
    ),
    Setting(
        "context_size",
        Whole(-1, CONTEXT_SIZE_LIMIT),
        "how much one request may fill; -1 or 0: as much as the model was trained for",
        unit="tokens",
        source="Docker model config",
    ),
    Setting(
        "keep_alive",
        Duration(),
        "how long the model stays loaded after its last request; 0: until it ends, -1: for ever",
        unit="duration",
        source="Docker Model Runner, `_configure`",
    ),
)

SAMPLING: Final = (
    Setting("sampling.temperature", Real(0, 5), "randomness; 0: always the likeliest token", source=_OPENAI),
    Setting(
        "sampling.top_p",
        Real(0, 1),
        "choose among the likeliest tokens that together have this probability",
        source=_OPENAI,
    ),
    Setting(
        "sampling.top_k", Whole(-1), "choose among so many tokens; 0 or -1: all", "tokens", source=_SAMPLERS
    ),
    Setting(
        "sampling.min_p",
        Real(0, 1),
        "drop tokens less likely than this share of the likeliest",
        source=_SAMPLERS,
    ),
    Setting(
        "sampling.repeat_penalty",
        Real(0, 5),
        "divide the weight of tokens that occurred; 1: none",
        source=_SAMPLERS,
    ),
    Setting("sampling.presence_penalty", Real(-2, 2), "against tokens that occurred", source=_OPENAI),
    Setting(
        "sampling.frequency_penalty",
        Real(-2, 2),
        "against tokens by how often they occurred",
        source=_OPENAI,
    ),
    Setting("sampling.max_tokens", Whole(1), "length of an answer", "tokens", source=_OPENAI),
    Setting("sampling.stop", _STOPS, "texts that end an answer", source=_OPENAI),
    Setting("sampling.seed", Whole(0), "same seed, same request, same answer", source=_OPENAI),
)
