"""Which entry of a store a repository path means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.digest import Digest
from mrpack.distribution.names import (
    Names,
    Naming,
    with_names,
    with_unnamed,
    without_digest,
    without_tag,
)
from mrpack.errors import NotFound, UsageError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.mediatypes import OCI_MANIFEST
from mrpack.oci.reference import Reference
from mrpack.store.entries import REF_NAME

NAMING = Naming()


def manifest(content: str) -> Descriptor:
    return Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(content.encode()), size=len(content))


def entry(name: str | None, content: str) -> Descriptor:
    return manifest(content).with_annotations({} if name is None else {REF_NAME: name})


def names(*entries: tuple[str, str], naming: Naming = NAMING) -> Names:
    return Names([entry(name, content) for name, content in entries], naming)


def test_models_of_the_default_registry_are_found_by_their_path() -> None:
    found = names(("docker.io/ai/smollm2:latest", "a"))
    assert found.find("ai/smollm2", "latest") == manifest("a")
    assert found.tags("ai/smollm2") == ["latest"]
    assert found.repositories() == ["ai/smollm2"]


@pytest.mark.parametrize("path", ["smollm2", "docker.io/ai/smollm2", "index.docker.io/ai/smollm2"])
def test_a_path_means_what_it_means_on_the_command_line(path: str) -> None:
    assert names(("docker.io/ai/smollm2:latest", "a")).find(path, "latest") == manifest("a")


def test_what_was_pushed_here_comes_first_then_the_default_registry() -> None:
    entries = [
        ("registry.example.com/ai/m:v1", "other"),
        ("docker.io/ai/m:v1", "hub"),
        ("localhost/ai/m:v1", "pushed"),
    ]
    assert names(*entries).find("ai/m", "v1") == manifest("pushed")
    assert names(*entries[:2]).find("ai/m", "v1") == manifest("hub")
    assert names(*entries[:1]).find("ai/m", "v1") == manifest("other")


def test_a_path_that_two_other_registries_have_is_not_guessed() -> None:
    found = names(("one.example.com/team/m:v1", "a"), ("two.example.com/team/m:v1", "b"))
    with pytest.raises(NotFound, match=r"one\.example\.com/team/m:v1, two\.example\.com/team/m:v1"):
        found.find("team/m", "v1")
    assert found.tags("team/m") == []
    assert found.find("one.example.com/team/m", "v1") == manifest("a")
    assert found.repositories() == ["one.example.com/team/m", "two.example.com/team/m"]


def test_registries_that_agree_are_no_ambiguity() -> None:
    found = names(("one.example.com/team/m:v1", "a"), ("two.example.com/team/m:v1", "a"))
    assert found.find("team/m", "v1") == manifest("a")


def test_a_model_behind_a_pushed_one_keeps_its_full_name() -> None:
    found = names(("localhost/ai/m:v1", "pushed"), ("docker.io/ai/m:v1", "hub"))
    assert found.repositories() == ["ai/m", "docker.io/ai/m"]
    assert found.find("docker.io/ai/m", "v1") == manifest("hub")


def test_tags_of_all_registries_come_together() -> None:
    found = names(("localhost/ai/m:b", "1"), ("docker.io/ai/m:a", "2"), ("r.example.com/ai/m:C", "3"))
    assert found.tags("ai/m") == ["C", "a", "b"]
    assert found.tags("ai/other") is None


def test_a_mirror_is_asked_for_one_registry_alone() -> None:
    found = names(("localhost/ai/m:v1", "pushed"), ("r.example.com:5000/ai/m:v1", "other"))
    assert found.find("ai/m", "v1", "r.example.com:5000") == manifest("other")
    with pytest.raises(NotFound):
        found.find("ai/m", "v1", "docker.io")


def test_what_was_pulled_by_digest_has_its_tag_and_comes_after_the_plain_tag() -> None:
    digest = manifest("old").digest
    assert names((f"docker.io/ai/m:v1@{digest}", "old")).find("ai/m", "v1") == manifest("old")
    found = names((f"docker.io/ai/m:v1@{digest}", "old"), ("docker.io/ai/m:v1", "new"))
    assert found.find("ai/m", "v1") == manifest("new")


def test_a_repository_without_tags_is_known() -> None:
    found = names((f"localhost/team/m@{manifest('a').digest}", "a"))
    assert found.tags("team/m") == []
    assert found.repositories() == ["team/m"]


def test_names_that_are_no_references_are_passed_over() -> None:
    assert names(("not a reference!", "a"), ("docker.io/ai/m:v1", "b")).repositories() == ["ai/m"]


@pytest.mark.parametrize(
    "path",
    ["", "A/b", "a//b", "a/", "/a", "a b", "a:v1", "a@b", "a/../b", "..", "a/.", "ä", "a" * 300, " a", "a "],
)
def test_a_malformed_path_is_no_name(path: str) -> None:
    with pytest.raises(UsageError):
        NAMING.kept_as(path)


@given(st.text(max_size=40))
def test_a_path_is_kept_as_it_is_or_refused(path: str) -> None:
    try:
        kept = NAMING.kept_as(path)
    except UsageError:
        return
    assert (kept.registry, kept.repository) == ("localhost", path)


def test_the_own_name_may_be_the_default_registry() -> None:
    naming = Naming(own="docker.io")
    assert str(naming.kept_as("smollm2").with_tag("v1")) == "docker.io/ai/smollm2:v1"
    found = names(("docker.io/ai/smollm2:v1", "a"), naming=naming)
    assert found.find("smollm2", "v1") == manifest("a")


def kept(tag: str) -> Reference:
    return NAMING.kept_as("team/m").with_tag(tag)


def test_a_tag_takes_the_place_of_the_name_by_digest_that_it_covers() -> None:
    child, index = manifest("child"), manifest("index")
    entries = [
        entry(f"localhost/team/m@{child.digest}", "child"),
        entry(f"localhost/other/m@{child.digest}", "child"),
        entry("localhost/team/m:v1", "old"),
    ]
    changed = with_names(entries, index, [kept("v1")], {index.digest, child.digest})
    assert [item.annotations[REF_NAME] for item in changed] == [
        f"localhost/other/m@{child.digest}",
        "localhost/team/m:v1",
    ]
    assert changed[1].digest == index.digest


def test_a_manifest_without_a_name_is_kept_once() -> None:
    entries = with_unnamed(with_unnamed([], manifest("a")), manifest("a"))
    assert entries == [manifest("a")]
    assert Names(entries, NAMING).unnamed == entries


def test_deleting_takes_names_of_this_server_alone() -> None:
    entries = [
        entry("localhost/team/m:v1", "a"),
        entry("localhost/team/m:v2", "a"),
        entry("localhost/team/m:v3", "b"),
        entry("docker.io/team/m:v1", "a"),
        entry(None, "a"),
    ]
    assert without_tag(entries, kept("v1")) == entries[1:]
    assert without_digest(entries, kept("any"), manifest("a").digest) == entries[2:4]
