"""What belongs to a manifest, in registries with the API and in those without."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mrpack.errors import RegistryUnavailable
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.mediatypes import OCI_INDEX
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.registry.referrers import fallback_tag
from tests.fakes.registry import FakeRegistry, Instead, Reply, Request, error_reply
from tests.fakes.registry_scene import REPOSITORY, describe, failure


@pytest.fixture
def target(session: RegistrySession, registry: FakeRegistry) -> RegistryTarget:
    return RegistryTarget(session, registry.address, REPOSITORY)


def attach(target: RegistryTarget, subject: Manifest, kind: str = "example/report") -> Descriptor:
    referrer = Manifest.build(
        config=subject.config, layers=[], artifact_type=kind, subject=subject.descriptor.plain()
    )
    target.push_manifest(referrer.descriptor, referrer.raw, None)
    return referrer.descriptor


def competitor_in(registry: FakeRegistry) -> Descriptor:
    """What another writer attached."""
    return registry.add(REPOSITORY, "competitor", b"competitor").descriptor


def index_of(*entries: Descriptor) -> bytes:
    return Index.build(entries).raw


def pages(*contents: bytes, link: str = "") -> Callable[[Request, Reply], Reply]:
    """The referrers API, with these pages."""

    def answer(request: Request, reply: Reply) -> Reply:
        path, _, query = request.target.partition("?")
        if "/referrers/" not in path:
            return reply
        number = int(query.removeprefix("page=")) if query.startswith("page=") else 0
        found = Reply(200, {"Content-Type": OCI_INDEX}, contents[number])
        if number + 1 < len(contents):
            found = found.with_header("Link", f'<{link or path}?page={number + 1}>; rel="next"')
        return found

    return answer


class Api:
    """A registry whose referrers API gives pages; its repository is found by the path."""

    def __init__(self, registry: FakeRegistry, *contents: bytes, link: str = "") -> None:
        answer = pages(*contents, link=link)
        serve = registry.answer
        registry.answer = lambda request: answer(request, serve(request))  # type: ignore[method-assign]


def test_without_the_api_a_tag_stands_for_it(registry: FakeRegistry, target: RegistryTarget) -> None:
    subject = registry.add(REPOSITORY, "v1", b"{}", b"weights")
    first = attach(target, subject, "example/signature")
    second = attach(target, subject, "example/report")
    raw = registry.manifests[REPOSITORY, fallback_tag(subject.descriptor.digest)][1]
    entries = json.loads(raw)["manifests"]
    assert [entry["digest"] for entry in entries] == [str(first.digest), str(second.digest)]
    assert [entry["artifactType"] for entry in entries] == ["example/signature", "example/report"]
    attach(target, subject, "example/report")
    assert len(target.referrers(subject.descriptor)) == 2


def test_a_registry_that_keeps_the_list_itself_gets_no_tag(
    registry: FakeRegistry, target: RegistryTarget
) -> None:
    subject = registry.add(REPOSITORY, "v1", b"{}")

    def note(request: Request, reply: Reply) -> Reply:
        if request.method == "PUT" and request.kind == "manifests":
            return reply.with_header("OCI-Subject", str(subject.descriptor.digest))
        return reply

    registry.fault(REPOSITORY, note)
    attach(target, subject)
    assert (REPOSITORY, fallback_tag(subject.descriptor.digest)) not in registry.manifests


def test_a_lost_race_is_run_again(registry: FakeRegistry, target: RegistryTarget) -> None:
    """Another writer replaces our index right after it was written."""
    subject = registry.add(REPOSITORY, "v1", b"{}")
    tag = fallback_tag(subject.descriptor.digest)
    competitor = competitor_in(registry)
    races = [index_of(competitor)]

    def race(request: Request, reply: Reply) -> Reply:
        if request.method == "PUT" and request.name == tag and races:
            registry.manifests[REPOSITORY, tag] = (OCI_INDEX, races.pop())
        return reply

    registry.fault(REPOSITORY, race)
    ours = attach(target, subject)
    found = {entry.digest for entry in target.referrers(subject.descriptor)}
    assert found == {competitor.digest, ours.digest}


def test_a_registry_that_looks_at_conditions_loses_nothing(
    registry: FakeRegistry, target: RegistryTarget
) -> None:
    subject = registry.add(REPOSITORY, "v1", b"{}")
    tag = fallback_tag(subject.descriptor.digest)
    competitor = competitor_in(registry)
    conditions = []

    def refuse_once(request: Request, reply: Reply) -> Reply:
        if request.method == "PUT" and request.name == tag:
            conditions.append(request.headers.get("If-None-Match") or request.headers.get("If-Match"))
            if len(conditions) == 1:
                registry.manifests[REPOSITORY, tag] = (OCI_INDEX, index_of(competitor))
                return error_reply(412, "PRECONDITION")
        return reply.with_header("ETag", '"state"')

    registry.fault(REPOSITORY, refuse_once)
    ours = attach(target, subject)
    assert conditions == ["*", '"state"']
    found = {entry.digest for entry in target.referrers(subject.descriptor)}
    assert found == {competitor.digest, ours.digest}


def test_races_without_end_are_given_up(registry: FakeRegistry, target: RegistryTarget) -> None:
    subject = registry.add(REPOSITORY, "v1", b"{}")
    tag = fallback_tag(subject.descriptor.digest)
    competitor = competitor_in(registry)

    def always(request: Request, reply: Reply) -> Reply:
        if request.method == "PUT" and request.name == tag:
            registry.manifests[REPOSITORY, tag] = (OCI_INDEX, index_of(competitor))
        return reply

    registry.fault(REPOSITORY, always)
    assert isinstance(failure(lambda: attach(target, subject)), RegistryUnavailable)


def test_pages_of_the_api_are_put_together(registry: FakeRegistry, target: RegistryTarget) -> None:
    others = [
        Descriptor(media_type="a/b", digest=describe(bytes([n])).digest, size=1, artifact_type=f"t/{n % 2}")
        for n in range(4)
    ]
    Api(registry, index_of(*others[:2]), index_of(*others[2:]))
    subject = describe(b"subject")
    assert len(target.referrers(subject)) == 4
    assert {item.artifact_type for item in target.referrers(subject, "t/1")} == {"t/1"}


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_registry_that_says_it_has_no_api_is_asked_for_the_tag(
    registry: FakeRegistry, target: RegistryTarget, status: int
) -> None:
    subject = registry.add(REPOSITORY, "v1", b"{}")
    ours = attach(target, subject)
    serve = registry.answer

    def answer(request: Request) -> Reply:
        reply = serve(request)
        return Reply(status) if "/referrers/" in request.target else reply

    registry.answer = answer  # type: ignore[method-assign]
    assert [item.digest for item in target.referrers(subject.descriptor)] == [ours.digest]


def test_pages_without_end_and_elsewhere_are_refused(
    registry: FakeRegistry, stranger: FakeRegistry, target: RegistryTarget
) -> None:
    Api(registry, index_of(describe(b"x")), index_of(), link=f"{stranger.url}/v2/x")
    assert isinstance(failure(lambda: target.referrers(describe(b"subject"))), RegistryUnavailable)
    assert not stranger.seen()


def test_a_refusal_is_no_empty_list(registry: FakeRegistry, target: RegistryTarget) -> None:
    subject = registry.add(REPOSITORY, "v1", b"{}")
    registry.protect(REPOSITORY, 'Basic realm="x"', "Basic never")
    registry.fault(REPOSITORY, Instead("tags", "GET", Reply(200)))
    serve = registry.answer

    def answer(request: Request) -> Reply:
        return error_reply(403, "DENIED") if "/referrers/" in request.target else serve(request)

    registry.answer = answer  # type: ignore[method-assign]
    assert failure(lambda: target.referrers(subject.descriptor)).exit_code == 4
