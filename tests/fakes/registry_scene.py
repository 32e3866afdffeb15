"""What tests on a fake registry do to it: push, pull, and look at the failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.digest import Digest
from mrpack.errors import (
    MrpackError,
    TransferError,
)
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.registry import (
    RegistrySession,
    RegistrySettings,
    RegistryTarget,
)
from mrpack.registry.retry import RetryPolicy
from tests.fakes.registry import FakeRegistry

SETTINGS = RegistrySettings(retry=RetryPolicy(attempts=3, first_delay_s=0.001))
# Of registries that stand still for ever, which ends in the same way when an honest answer is late.
HASTY = replace(SETTINGS, read_timeout_s=0.5, commit_timeout_s=0.5)
# Of those that stand still once: honest answers that are late on a busy machine are asked for again.
PERSISTENT = replace(HASTY, retry=replace(SETTINGS.retry, attempts=100, longest_delay_s=0.01))
WEIGHTS = bytes(range(256)) * 1_200
REPOSITORY = "team/model"


def pull(session: RegistrySession, registry: FakeRegistry) -> MemoryTarget:
    memory = MemoryTarget()
    copy(RegistryTarget(session, registry.address, REPOSITORY), "v1", memory, "v1", jobs=1)
    return memory


def push(session: RegistrySession, registry: FakeRegistry, weights: bytes = WEIGHTS) -> None:
    memory = MemoryTarget()
    config = memory.add("application/vnd.oci.empty.v1+json", b"{}")
    manifest = Manifest.build(config=config, layers=[memory.add("a/b", weights)])
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    copy(memory, "v1", RegistryTarget(session, registry.address, REPOSITORY), "v1", jobs=1)


def failure(action: Callable[[], object]) -> MrpackError:
    """What went wrong, without the frame that `copy` puts around it."""
    with pytest.raises(MrpackError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value.cause if isinstance(caught.value, TransferError) else caught.value


def describe(content: bytes) -> Descriptor:
    return Descriptor(media_type="a/b", digest=Digest.of(content), size=len(content))
