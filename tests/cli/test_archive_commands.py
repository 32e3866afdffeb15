"""`export` and `import`, and archives as places."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.documented_keys import checked
from tests.program import PROGRAM, Mrpack


@pytest.fixture
def program(mrpack: Mrpack, tiny_model: Path) -> Mrpack:
    """With one model, `tiny`."""
    mrpack("package", tiny_model, "tiny", "-q")
    return mrpack


def test_a_model_goes_to_another_machine_as_one_file(program: Mrpack, tmp_path: Path) -> None:
    digest = program("export", "tiny", "tiny.tar").out
    (there := tmp_path / "there").mkdir()
    imported = program("import", "tiny.tar", MRPACK_HOME=str(there))
    assert imported.out.split() == ["docker.io/ai/tiny:latest"]
    assert program("inspect", "tiny", "--json", MRPACK_HOME=str(there)).json["digest"] == digest.strip()
    assert "MODEL" in program("list", MRPACK_HOME=str(there)).out
    program("verify", MRPACK_HOME=str(there))


def test_a_model_goes_to_another_machine_through_a_pipe(program: Mrpack, tmp_path: Path) -> None:
    command = " ".join(PROGRAM)
    (there := tmp_path / "there").mkdir()
    script = f"{command} export tiny - | MRPACK_HOME={there} {command} import -"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env=program.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "docker.io/ai/tiny:latest\n"
    program("verify", MRPACK_HOME=str(there))
    homes = [there, Path(program("df", "--json").json["home"])]
    assert not [left for home in homes for left in (home / "store" / "ingest").glob("*.tar")]
    assert not (tmp_path / "-").exists()


def test_a_pipe_with_something_else_is_refused(program: Mrpack) -> None:
    program("export", "none", "-", fails=3)
    assert "--json" in program("export", "tiny", "-", "--json", fails=2).last_line
    assert program("import", "-", stdin="no archive", fails=7).last_line.startswith(
        "mrpack: standard input: "
    )
    program("import", "-", fails=7)


def test_results_have_the_documented_keys(program: Mrpack) -> None:
    checked("push, pull, copy, export", program("export", "tiny", "tiny.tar", "--json").json)
    (imported,) = program("import", "tiny.tar", "again", "--json").json
    assert checked("import", imported)["reference"] == "docker.io/ai/again:latest"


def test_the_same_model_gives_the_same_file(program: Mrpack, tmp_path: Path) -> None:
    program("export", "tiny", "one.tar")
    program("export", "tiny", "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_mere_tag_needs_a_name(program: Mrpack, tmp_path: Path) -> None:
    store = Path(program("resolve", "tiny").out.strip()).parents[2] / "store"
    program("copy", f"oci:{store}:docker.io/ai/tiny:latest", "oci-archive:tagged.tar:v7", "-q")
    refused = program("import", "tagged.tar", fails=2)
    assert "'v7'" in refused.last_line
    assert "mrpack import tagged.tar NAME" in refused.last_line
    assert program("import", "tagged.tar", "team/tiny:v7").out.split() == ["docker.io/team/tiny:v7"]
    # The only thing in it needs no tag.
    assert program("inspect", "oci-archive:tagged.tar", "--json").json["reference"].endswith(":v7")


def test_an_archive_with_several_models_brings_them_all(program: Mrpack, tmp_path: Path) -> None:
    program("tag", "tiny", "team/other:v2")
    store = Path(program("resolve", "tiny").out.strip()).parents[2] / "store"
    with tarfile.open(tmp_path / "all.tar", "w") as opened:
        for name in ("oci-layout", "index.json", "blobs"):
            opened.add(store / name, name)
    (there := tmp_path / "there").mkdir()
    imported = program("import", "all.tar", MRPACK_HOME=str(there))
    assert sorted(imported.out.split()) == ["docker.io/ai/tiny:latest", "docker.io/team/other:v2"]
    refused = program("import", "all.tar", "something", fails=2, MRPACK_HOME=str(there))
    assert "2 artifacts" in refused.last_line


def test_what_cannot_be_exported_or_imported_says_why(program: Mrpack, tmp_path: Path) -> None:
    program("export", "absent", "x.tar", fails=3)
    program("export", "tiny", str(tmp_path / "no" / "x.tar"), fails=3)
    program("export", "tiny", str(tmp_path), fails=8)
    program("import", "absent.tar", fails=3)
    (tmp_path / "noise.tar").write_bytes(b"noise" * 1000)
    program("import", "noise.tar", fails=7)
    assert not (tmp_path / "x.tar").exists()


def test_a_result_that_cannot_be_written_is_one_line(program: Mrpack) -> None:
    for arguments in (["list"], ["list", "--json"], ["inspect", "tiny"]):
        with open("/dev/full", "w") as full:
            failed = subprocess.run(
                [*PROGRAM, *arguments],
                env=program.environment,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert failed.returncode == 8
        assert failed.stderr.count("\n") == 1
        assert "no space left" in failed.stderr
