"""Pushes of a manifest: once more when a blob looks missing or wrong, and only then."""

from __future__ import annotations

import pytest

from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    Unsupported,
    UsageError,
)
from mrpack.registry import RegistrySession, RegistryTarget
from tests.fakes.registry import FakeRegistry, Instead, Reply, error_reply
from tests.fakes.registry_scene import REPOSITORY, failure, push

LOOKS_MISSING = {
    "a blob unknown": (error_reply(400, "MANIFEST_BLOB_UNKNOWN"), NotFound),
    "a blob unknown, by 404": (error_reply(404, "MANIFEST_BLOB_UNKNOWN"), NotFound),
    "a blob wrong": (error_reply(400, "DIGEST_INVALID"), IntegrityError),
}
REFUSED: dict[str, tuple[Reply, type[MrpackError]]] = {
    "invalid": (error_reply(400, "MANIFEST_INVALID"), InvalidArtifact),
    "name refused": (error_reply(400, "NAME_INVALID"), UsageError),
    "not allowed": (error_reply(403, "DENIED"), AccessDenied),
    "too large": (error_reply(413, "SIZE_LIMIT"), Unsupported),
    "no such method": (error_reply(405, "UNSUPPORTED"), Unsupported),
}


def puts(registry: FakeRegistry) -> int:
    return len(registry.seen("PUT", "manifests"))


@pytest.mark.parametrize("what", LOOKS_MISSING)
def test_a_blob_that_looks_missing_for_a_moment_does_no_harm(
    registry: FakeRegistry, session: RegistrySession, what: str
) -> None:
    registry.fault(REPOSITORY, Instead("manifests", "PUT", LOOKS_MISSING[what][0], times=1))
    push(session, registry)
    assert puts(registry) == 2
    assert RegistryTarget(session, registry.address, REPOSITORY).tags() == ["v1"]


@pytest.mark.parametrize("what", LOOKS_MISSING)
def test_a_blob_that_stays_missing_is_said_after_the_second_try(
    registry: FakeRegistry, session: RegistrySession, what: str
) -> None:
    reply, error = LOOKS_MISSING[what]
    registry.fault(REPOSITORY, Instead("manifests", "PUT", reply))
    assert isinstance(failure(lambda: push(session, registry)), error)
    assert puts(registry) == 2
    assert not registry.manifests


@pytest.mark.parametrize("what", REFUSED)
def test_a_manifest_that_is_refused_is_not_sent_again(
    registry: FakeRegistry, session: RegistrySession, what: str
) -> None:
    reply, error = REFUSED[what]
    registry.fault(REPOSITORY, Instead("manifests", "PUT", reply))
    assert isinstance(failure(lambda: push(session, registry)), error)
    assert puts(registry) == 1


def test_another_refusal_at_the_second_try_is_the_one_that_is_told(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    answers = iter([error_reply(400, "MANIFEST_BLOB_UNKNOWN"), error_reply(403, "DENIED")])
    registry.fault(
        REPOSITORY,
        lambda request, reply: (
            next(answers) if (request.kind, request.method) == ("manifests", "PUT") else reply
        ),
    )
    assert isinstance(failure(lambda: push(session, registry)), AccessDenied)
    assert puts(registry) == 2
