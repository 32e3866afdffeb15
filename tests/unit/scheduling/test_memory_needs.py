"""What engines will take, from headers alone, and what fits beside what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.digest import Digest
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import EngineSettings, ModelBundle
from mrpack_runtime.engine.memory_needs import on_first_gpu, spread
from mrpack_runtime.engines.llamacpp.memory import cache_size, compute_size, memory
from mrpack_runtime.engines.llamacpp.plan import plan
from mrpack_runtime.machine.accelerators import Gpu
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory, MemoryLimit, host_limit

GIB = 2**30
MIB = 2**20
HOST = HostFacts(os="linux", arch="x86_64", cpu_count=2, physical_cores=2, memory=16 * GIB)
GPU = Gpu(api="cuda", name="card", memory=8 * GIB)
# Llama 3.2 1B, as its file says.
LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": "16",
    "llama.context_length": "131072",
    "llama.embedding_length": "2048",
    "llama.attention.head_count": "32",
    "llama.attention.head_count_kv": "8",
    "llama.attention.key_length": "64",
    "llama.attention.value_length": "64",
    "llama.vocab_size": "128256",
}


@pytest.fixture
def bundle(tmp_path):
    weights = tmp_path / "model.gguf"
    weights.touch()
    with weights.open("r+b") as file:
        file.truncate(GIB)
    return ModelBundle(
        name="llama",
        digest=Digest.of(b"llama"),
        config=ModelConfig(format="gguf", metadata=LLAMA),
        folder=tmp_path,
        weights=(weights,),
    )


def planned(bundle, settings=None, **own):
    return plan(bundle, settings or EngineSettings(context_size=8192, own=own), HOST)


def test_a_context_takes_keys_and_values_of_every_layer(bundle):
    assert cache_size(planned(bundle), LLAMA) == 8192 * 16 * 8 * (64 + 64) * 2
    quarter = planned(bundle, cache_type_k="q8_0", cache_type_v="q8_0")
    assert cache_size(quarter, LLAMA) == 8192 * 16 * 8 * (64 + 64) * 34 // 32


def test_requests_that_share_nothing_take_as_much_each(bundle):
    alone = cache_size(planned(bundle), LLAMA)
    assert cache_size(planned(bundle, EngineSettings(context_size=8192, parallel=3)), LLAMA) == 3 * alone


def test_heads_are_counted_by_layer_where_layers_differ(bundle):
    hybrid = {**LLAMA, "llama.block_count": "4", "llama.attention.head_count_kv": "0,8,0,4"}
    assert cache_size(planned(bundle), hybrid) == 8192 * (8 + 4) * 128 * 2


def test_layers_that_see_a_window_keep_no_more_than_that(bundle):
    gemma = {key.replace("llama.", "gemma3."): value for key, value in LLAMA.items()} | {
        "general.architecture": "gemma3",
        "gemma3.block_count": "12",
        "gemma3.attention.sliding_window": "512",
    }
    token = 8 * 128 * 2
    whole = cache_size(planned(bundle, swa_full=True), gemma)
    assert whole == 12 * 8192 * token
    assert cache_size(planned(bundle), gemma) == (2 * 8192 + 10 * (512 * 4 + 512)) * token


def test_one_batch_scores_the_whole_vocabulary(bundle):
    assert compute_size(planned(bundle), LLAMA) >= 512 * 128256 * 4
    assert compute_size(planned(bundle, ubatch_size=64), LLAMA) < 40 * MIB


def test_without_a_gpu_all_is_on_the_machine(bundle):
    found = memory(bundle, EngineSettings(context_size=8192), HOST)
    assert found.gpus == ()
    assert GIB + 256 * MIB < found.host < GIB + 900 * MIB


def test_a_gpu_holds_what_it_can_and_as_many_layers_as_were_asked_for(bundle):
    host = replace(HOST, gpus=(GPU,))
    whole = memory(bundle, EngineSettings(context_size=8192), host)
    assert whole.gpus[0] > GIB
    assert whole.host < 100 * MIB
    half = memory(bundle, EngineSettings(context_size=8192, own={"n_gpu_layers": 8}), host)
    assert half.host > GIB // 2
    assert 0 < half.gpus[0] < whole.gpus[0]
    none = memory(bundle, EngineSettings(context_size=8192, own={"n_gpu_layers": 0}), host)
    assert not any(none.gpus)
    small = memory(bundle, EngineSettings(context_size=8192), replace(HOST, gpus=(replace(GPU, memory=GIB),)))
    assert small.gpus[0] == GIB
    assert small.host > 256 * MIB


def test_several_gpus_share_by_their_memory():
    host = replace(HOST, gpus=(GPU, replace(GPU, memory=24 * GIB)))
    assert spread(16 * GIB, host) == Memory(0, (4 * GIB, 12 * GIB))
    assert spread(40 * GIB, host) == Memory(8 * GIB, (8 * GIB, 24 * GIB))


def test_apples_gpu_shares_the_machines_memory():
    host = replace(HOST, gpus=(Gpu(api="metal", name="Apple", memory=16 * GIB),))
    assert spread(GIB, host) == Memory(GIB)
    assert on_first_gpu(GIB, host) == Memory(GIB)
    assert host_limit(host) == MemoryLimit(16 * GIB, (None,))


AMOUNTS = st.builds(Memory, st.integers(0, 100), st.lists(st.integers(0, 100), max_size=3).map(tuple))


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_amounts_add_up_in_any_order(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Memory() == a


@given(AMOUNTS, AMOUNTS)
def test_what_fits_with_more_fits_with_less(a, b):
    limit = MemoryLimit(80, (80, None))
    assert limit.lacks(a) <= limit.lacks(a + b)
