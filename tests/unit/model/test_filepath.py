"""Which file names an artifact may have."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact
from mrpack.model.filepath import check_path, check_tree


@pytest.mark.parametrize(
    "path",
    [
        "model.gguf",
        "text_encoder/model-00001-of-00002.safetensors",
        ".gitattributes",
        "a&b [v1.0] (final), it's #1+2=3@home~ {x}!.gguf",
        "模型/модель-é.gguf",
        "console.txt",
        "com10",
        "x" * 255,
        "/".join("abcdefghijklmnop"),
        "नमस्ते.gguf",
    ],
)
def test_ordinary_names_are_kept_as_they_are(path):
    assert check_path(path, "layers[0]") is path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../../x",
        "a/../../b",
        "a/./b",
        "a//b",
        "a/",
        ".",
        "..",
        "C:\\x",
        "C:x",
        "\\\\host\\share",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\x1b[31mb",
        "a\u202eb",
        "a\u200bb",
        "a\u2028b",
        "a\ud800b",
        "a\ue000b",
        "a:b",
        "a*b",
        "a?b",
        'a"b',
        "a<b",
        "a|b",
        "a`b",
        "a\u00a0b",
        "a\u2044b",
        "a\uff0fb",
        "CON",
        "con.txt",
        "nul .gguf",
        "a/AUX/b",
        "lpt9.tar.gz",
        "COM\u00b9",
        "conin$",
        "trailing ",
        "trailing.",
        "folder./x",
        "x" * 256,
        "é" * 128,
        "/".join("abcdefghijklmnopq"),
        "/".join(["x" * 200] * 6),
    ],
)
def test_other_names_are_refused(path):
    with pytest.raises(InvalidArtifact, match=r"^layers\[0\]: bad file name") as caught:
        check_path(path, "layers[0]")
    assert str(caught.value).isprintable()


@given(st.text(max_size=40))
def test_what_is_allowed_stays_inside_its_folder(path):
    try:
        check_path(path, "layers[0]")
    except InvalidArtifact:
        return
    root = Path("/root/folder")
    assert (root / path).parts[: len(root.parts)] == root.parts
    assert ".." not in Path(path).parts
    assert not PureWindowsPath(path).drive
    assert PureWindowsPath(path).as_posix() == path
    assert path.isprintable()


@pytest.mark.parametrize(
    "paths",
    [
        ["A.gguf", "a.gguf"],
        ["a.gguf", "a.gguf"],
        ["é.gguf", unicodedata.normalize("NFD", "é.gguf")],
        ["STRASSE", "straße"],
        ["Folder/x", "folder/X"],
    ],
)
def test_names_that_some_system_takes_for_one_are_refused(paths):
    with pytest.raises(InvalidArtifact, match="two files would share one name"):
        check_tree(paths)


@pytest.mark.parametrize(
    "paths",
    [["a", "a/b"], ["a/b/c", "a"], ["a/b", "a/b/c/d"], ["É", unicodedata.normalize("NFD", "é") + "/x"]],
)
def test_a_file_in_a_file_is_refused(paths):
    with pytest.raises(InvalidArtifact, match="is a file, but"):
        check_tree(paths, "layers")


def test_a_tree_of_files_passes():
    check_tree(["README.md", "a/x.json", "a-b/y.txt", "a.json", "a/b/c"])


def test_each_name_of_a_tree_is_checked():
    with pytest.raises(InvalidArtifact, match=r"^layers: bad file name"):
        check_tree(["a", "../b"], "layers")
