"""`attach`, `referrers` and `--referrers`: what belongs to an artifact goes where it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documented_keys import checked
from tests.program import Mrpack

TYPE = "application/spdx+json"


@pytest.fixture
def reference(mrpack: Mrpack, registry: str, tiny_model: Path, tmp_path: Path) -> str:
    (tmp_path / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    (tmp_path / "sig.txt").write_text("signature")
    name = f"{registry}/team/tiny:v1"
    mrpack("package", tiny_model, name, "--push", "-q")
    return name


def attached(mrpack: Mrpack, place: str, *more: str) -> list[dict[str, object]]:
    found = mrpack("referrers", place, "--json", *more).json
    return list(checked("referrers", found)["referrers"])


def test_files_are_attached_and_found(mrpack: Mrpack, reference: str) -> None:
    assert mrpack("referrers", reference).out == ""
    result = mrpack("attach", "sbom.json", reference, "--type", TYPE, "--annotation", "by=me", "--json").json
    checked("attach", result)
    mrpack("attach", "sig.txt", reference, "--type", "example/signature")
    assert len(attached(mrpack, reference)) == 2
    (found,) = attached(mrpack, reference, "--type", TYPE)
    checked("referrers: referrers", found)
    assert (found["digest"], found["annotations"]) == (result["digest"], {"by": "me"})
    assert TYPE in mrpack("referrers", reference).out
    # The same again changes nothing, and the artifact itself is as it was.
    again = mrpack("attach", "sbom.json", reference, "--type", TYPE, "--annotation", "by=me").out
    assert again.strip() == result["digest"]
    assert len(attached(mrpack, reference)) == 2
    assert mrpack("inspect", "--remote", reference, "--json").json["digest"] == result["subject"]


def test_they_come_along_when_asked_for(mrpack: Mrpack, reference: str, registry: str) -> None:
    mrpack("attach", "sbom.json", reference, "--type", TYPE, "-q")
    mrpack("copy", reference, "oci:without:v1", "-q")
    assert attached(mrpack, "oci:without:v1") == []
    for source, destination in (
        (reference, "oci:layout:v1"),
        ("oci:layout:v1", "oci-archive:with.tar:v1"),
        ("oci-archive:with.tar:v1", f"{registry}/team/again:v1"),
    ):
        mrpack("copy", source, destination, "--referrers", "-q")
        assert attached(mrpack, destination) == attached(mrpack, reference)


def test_the_store_keeps_them_as_long_as_their_model(mrpack: Mrpack, reference: str, registry: str) -> None:
    mrpack("attach", "sbom.json", reference, "--type", TYPE, "-q")
    mrpack("pull", reference, "--referrers", "-q")
    mrpack("gc", "-q")
    mrpack("push", reference, f"{registry}/team/pushed:v1", "--referrers", "-q")
    assert attached(mrpack, f"{registry}/team/pushed:v1") == attached(mrpack, reference)
    assert len(mrpack("list", "--json").json) == 1
    mrpack("export", reference, "model.tar", "--referrers", "-q")
    mrpack("rm", reference)
    usage = mrpack("df", "--json").json
    assert (usage["blobs"], usage["models"]) == (0, 0)
    assert mrpack("import", "model.tar", "--referrers").out.split() == [reference]
    mrpack("push", reference, f"{registry}/team/imported:v1", "--referrers", "-q")
    assert attached(mrpack, f"{registry}/team/imported:v1") == attached(mrpack, reference)


def test_mistakes_are_told(mrpack: Mrpack, reference: str) -> None:
    mrpack("attach", "sbom.json", reference, "--type", "no-media-type", fails=2)
    mrpack("attach", "sbom.json", reference, "--type", TYPE, "--annotation", "x", fails=2)
    mrpack("attach", "absent.json", reference, "--type", TYPE, fails=3)
    mrpack("attach", "sbom.json", f"{reference}x", "--type", TYPE, fails=3)
    mrpack("copy", reference, "oci-archive:model.tar", "-q")
    assert (
        "oci:FOLDER"
        in mrpack("attach", "sbom.json", "oci-archive:model.tar", "--type", TYPE, fails=8).last_line
    )
    mrpack("pull", reference, "--output", "out", "--referrers", fails=2)
