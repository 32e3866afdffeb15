"""A registry's refusal is told apart by status and code, never by its words."""

from __future__ import annotations

import pytest

from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    RegistryUnavailable,
    Unsupported,
    UsageError,
)
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.registry.printable import printable
from mrpack.registry.retry import Transient
from mrpack.registry.wire import Refusal
from tests.fakes.registry import FakeRegistry, Reply, error_reply, json_reply
from tests.fakes.registry_faults import answer
from tests.fakes.registry_scene import REPOSITORY, failure


@pytest.mark.parametrize(
    ("status", "code", "family"),
    [
        (400, "MANIFEST_INVALID", InvalidArtifact),
        (400, "MANIFEST_UNVERIFIED", InvalidArtifact),
        (400, "MANIFEST_BLOB_UNKNOWN", NotFound),
        (404, "MANIFEST_UNKNOWN", NotFound),
        (404, "BLOB_UNKNOWN", NotFound),
        (404, "NAME_UNKNOWN", NotFound),
        (404, "BLOB_UPLOAD_UNKNOWN", NotFound),
        (400, "BLOB_UPLOAD_INVALID", NotFound),
        (400, "DIGEST_INVALID", IntegrityError),
        (400, "SIZE_INVALID", IntegrityError),
        (400, "NAME_INVALID", UsageError),
        (400, "TAG_INVALID", UsageError),
        (401, "UNAUTHORIZED", AccessDenied),
        (403, "DENIED", AccessDenied),
        (403, "NAME_UNKNOWN", AccessDenied),
        (400, "DENIED", AccessDenied),
        (405, "UNSUPPORTED", Unsupported),
        (413, "", Unsupported),
        (404, "", NotFound),
        (410, "", NotFound),
        (501, "", Unsupported),
        (400, "", RegistryUnavailable),
        (418, "TEAPOT", RegistryUnavailable),
        (302, "", RegistryUnavailable),
        (429, "TOOMANYREQUESTS", Transient),
        (400, "TOOMANYREQUESTS", Transient),
        (500, "MANIFEST_INVALID", Transient),
        (503, "DENIED", Transient),
    ],
)
def test_statuses_and_codes_have_a_family(status: int, code: str, family: type[MrpackError]) -> None:
    assert Refusal(status, (code,)).family is family


def test_the_first_known_code_decides() -> None:
    assert Refusal(400, ("X", "TAG_INVALID", "DIGEST_INVALID")).family is UsageError


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404, {}, b"<html>not here</html>"),
        Reply(404, {}, b""),
        Reply(404, {}, b'{"errors":'),
        Reply(404, {}, b"[" * 1_000),
        Reply(404, {}, b"x" * 1_000_000),
        json_reply({"errors": "MANIFEST_INVALID"}, 404),
        json_reply({"errors": ["MANIFEST_INVALID", {"code": 5, "message": []}, None]}, 404),
        json_reply({"errors": [{"message": "words"}] * 10_000}, 404),
    ],
)
def test_a_body_that_is_no_registry_error_leaves_the_status(
    registry: FakeRegistry, session: RegistrySession, reply: Reply
) -> None:
    registry.fault(REPOSITORY, answer(reply))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    error = failure(lambda: target.resolve("v1"))
    assert isinstance(error, NotFound)
    assert len(str(error)) < 600


def test_a_message_names_operation_reference_registry_and_its_words(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    registry.fault(REPOSITORY, answer(error_reply(403, "DENIED", "quota of team exceeded")))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    error = failure(lambda: target.resolve("v1"))
    assert error.message == (
        f"resolve manifest {registry.address}/{REPOSITORY}:v1: {registry.address} refused with status 403: "
        "quota of team exceeded"
    )
    assert error.hint == f"log in with `mrpack login {registry.address}`, or check the name"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("größer", "größer"),
        ("a\nb\rc\td", "a\\x0ab\\x0dc\\x09d"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202eevil\u200b", "\\x202eevil\\x200b"),
        ("\u2028\xa0", "\\x2028\\xa0"),
        ("\ud800", "\\xd800"),
        ("x" * 300, "x" * 240 + "…"),
    ],
)
def test_foreign_words_are_made_fit_to_be_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
