"""What Ollama's clients are told of a model in a list."""

from __future__ import annotations

import pytest

from mrpack.digest import Digest
from mrpack.model.config import ModelConfig
from mrpack_runtime.models.library import LibraryEntry
from mrpack_runtime.protocols.ollama.catalogue import tag_json


@pytest.mark.parametrize(
    ("context_size", "metadata", "told"),
    [
        (None, {}, None),
        (None, {"llama.context_length": "8192"}, 8192),
        (4096, {"llama.context_length": "8192"}, 4096),
        (None, {"bert.context_length": "512"}, None),
    ],
)
def test_the_length_of_the_context_is_that_of_the_settings_or_the_models_own(context_size, metadata, told):
    config = ModelConfig(format="gguf", architecture="llama", context_size=context_size, metadata=metadata)
    entry = LibraryEntry(names=("m",), digest=Digest.of(b"m"), config=config)
    assert tag_json(entry, "m")["details"].get("context_length") == told
