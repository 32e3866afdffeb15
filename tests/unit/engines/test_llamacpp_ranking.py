"""Which models llama.cpp ranks documents with: any other would be given numbers that mean nothing."""

from __future__ import annotations

import pytest

from mrpack.digest import Digest
from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import EngineSettings, Installation, ModelBundle, Operation
from mrpack_runtime.engines.llamacpp import ENGINE
from mrpack_runtime.machine.host import HostFacts
from tests.fakes.tiny_gguf import write_markov, write_reranker

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=2, physical_cores=1, memory=2**34)
INSTALLATION = Installation(launcher="xllamacpp", version="1", where="/x/bin/python")
RANKING = EngineSettings(operation=Operation.RERANKING)


def bundle(*weights):
    return ModelBundle(
        name="m",
        digest=Digest.of(b"m"),
        config=ModelConfig(format="gguf"),
        folder=weights[0].parent,
        weights=weights,
    )


def test_a_reranker_ranks(tmp_path):
    ENGINE.memory(INSTALLATION, bundle(write_reranker(tmp_path)), RANKING, HOST)


def test_a_model_that_judges_nothing_is_refused_before_it_is_loaded(tmp_path):
    with pytest.raises(Unsupported, match="not made to rank"):
        ENGINE.memory(INSTALLATION, bundle(write_markov(tmp_path)), RANKING, HOST)


def test_what_judges_may_be_in_any_of_its_files(tmp_path):
    ENGINE.memory(INSTALLATION, bundle(write_markov(tmp_path), write_reranker(tmp_path)), RANKING, HOST)
