"""Safetensors files that must be refused, each with the words that its refusal has to hold."""

from __future__ import annotations

import json
import pickle
from typing import Any, Final, NamedTuple

from tests.fakes.raw_safetensors import Content, entry, file, safetensors


class Malformed(NamedTuple):
    content: bytes
    reason: str


_GOOD: Final = safetensors({"a": Content("F32", [2]), "b": Content("F32", [2])}, {"format": "pt"})
_A: Final = entry("F32", [2], 0, 8)


def _one(**changes: Any) -> bytes:
    """A single tensor of 8 bytes, with other fields."""
    return file({"a": _A | changes}, bytes(8))


def _two(first: tuple[int, int], second: tuple[int, int], size: int = 16) -> bytes:
    """Two tensors of U8 at the places given."""
    header = {
        name: entry("U8", [max(0, end - begin)], begin, end)
        for name, (begin, end) in (("a", first), ("b", second))
    }
    return file(header, bytes(size))


def _described(text: str) -> bytes:
    """One tensor of 8 bytes, described in these words."""
    return file('{"a":' + text + "}", bytes(8))


_WHOLE: Final = '"dtype":"F32","shape":[2],"data_offsets":[0,8]'
_ALONE: Final = "not described by dtype, shape and data_offsets alone"

MALFORMED: Final[dict[str, Malformed]] = {
    "empty file": Malformed(b"", "it has 0 bytes"),
    "no header": Malformed(bytes(8), "it has 8 bytes"),
    "cut length": Malformed(_GOOD[:5], "it has 5 bytes"),
    "GGUF file": Malformed(b"GGUF" + bytes(60), "a GGUF file"),
    "Git LFS pointer": Malformed(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"
    ),
    "zip archive": Malformed(b"PK\x03\x04" + bytes(60), "a zip archive"),
    "web page": Malformed(b"<!DOCTYPE html><title>404</title>", "a web page"),
    "pickle": Malformed(pickle.dumps({"weight": list(range(60))}, protocol=4), "a pickle"),
    "old pickle": Malformed(pickle.dumps(["a"] * 30, protocol=2), "a pickle"),
    "other bytes": Malformed(bytes(range(1, 60)), "something that starts with"),
    "header beyond the file": Malformed(file("{}", length=3), "only 2 more"),
    "header cut": Malformed(_GOOD[:40], "only 32 more"),
    "header of 2^63 bytes": Malformed(file("{}", length=2**63), f"header of {2**63} bytes"),
    "header of 2^64 - 1 bytes": Malformed(file("{}", length=2**64 - 1), f"header of {2**64 - 1} bytes"),
    "header over the limit": Malformed(file("{}", length=100_000_001), "at most 100000000"),
    "header of 0 bytes": Malformed(file("", b"{}"), "not an object"),
    "space before the header": Malformed(file(" {}"), "something that starts with"),
    "header is a list": Malformed(file("[]"), "something that starts with"),
    "header is one brace": Malformed(file("{"), "not JSON at byte 1: its end"),
    "header not closed": Malformed(file('{"a":{' + _WHOLE + "}", bytes(8)), "not JSON at byte"),
    "comma at the end": Malformed(file('{"a":{' + _WHOLE + "},}", bytes(8)), "not JSON at byte"),
    "comma missing": Malformed(
        file('{"a":{' + _WHOLE + '} "b":{' + _WHOLE + "}}", bytes(8)), "not JSON at byte"
    ),
    "key without quotes": Malformed(file("{a:{" + _WHOLE + "}}", bytes(8)), "not JSON at byte"),
    "something behind the header": Malformed(file("{} {}"), "something follows at byte 3"),
    "NUL behind the header": Malformed(file("{}\0\0"), "something follows at byte 2"),
    "name not UTF-8": Malformed(file(b'{"\xff":{' + _WHOLE.encode() + b"}}", bytes(8)), "not text"),
    "name of a lone surrogate": Malformed(file('{"\\ud800":{' + _WHOLE + "}}", bytes(8)), "not text"),
    "name with an unknown escape": Malformed(file('{"\\x":{' + _WHOLE + "}}", bytes(8)), "not text"),
    "name with a control character": Malformed(file('{"\n":{' + _WHOLE + "}}", bytes(8)), "not JSON at byte"),
    "name of 1,025 characters": Malformed(file({"a" * 1025: _A}, bytes(8)), "more than 1024 characters"),
    "duplicate tensor": Malformed(
        file('{"a":{' + _WHOLE + '},"a":{' + _WHOLE + "}}", bytes(8)), "'a': occurs twice"
    ),
    "duplicate tensor by an escape": Malformed(
        file('{"a":{' + _WHOLE + '},"\\u0061":{' + _WHOLE + "}}", bytes(8)), "'a': occurs twice"
    ),
    "tensor is a number": Malformed(_described("1"), _ALONE),
    "tensor is null": Malformed(_described("null"), _ALONE),
    "tensor is a list": Malformed(_described("[" * 100_000), _ALONE),
    "tensor is empty": Malformed(_described("{}"), _ALONE),
    "no data type": Malformed(_described('{"shape":[2],"data_offsets":[0,8]}'), _ALONE),
    "no shape": Malformed(_described('{"dtype":"F32","data_offsets":[0,8]}'), _ALONE),
    "no offsets": Malformed(_described('{"dtype":"F32","shape":[2]}'), _ALONE),
    "unknown field": Malformed(_described("{" + _WHOLE + ',"strides":[1]}'), _ALONE),
    "deep unknown field": Malformed(_described("{" + _WHOLE + ',"x":' + "[" * 100_000), _ALONE),
    "shape twice": Malformed(_described('{"dtype":"F32","shape":[2],"shape":[2]}'), _ALONE),
    "data type twice": Malformed(_described("{" + _WHOLE + ',"dtype":"F32"}'), _ALONE),
    "data type is a number": Malformed(_one(dtype=32), _ALONE),
    "data type in small letters": Malformed(_one(dtype="f32"), _ALONE),
    "unknown data type": Malformed(_one(dtype="F33"), "unknown data type F33"),
    "data type of four bits": Malformed(_one(dtype="I4", shape=[16]), "unknown data type I4"),
    "negative length": Malformed(_one(shape=[-2]), _ALONE),
    "fractional length": Malformed(_one(shape=[2.0]), _ALONE),
    "length with a leading zero": Malformed(
        _described('{"dtype":"F32","shape":[02],"data_offsets":[0,8]}'), _ALONE
    ),
    "length of 21 digits": Malformed(_one(shape=[10**20, 0]), _ALONE),
    "length is a bool": Malformed(_one(shape=[True]), _ALONE),
    "shape is a number": Malformed(_one(shape=2), _ALONE),
    "shape with a list": Malformed(_one(shape=[[2]]), _ALONE),
    "65 dimensions": Malformed(_one(dtype="U8", shape=[8] + [1] * 64), _ALONE),
    "elements beyond 64 bits": Malformed(_one(shape=[2**40, 2**40]), "beyond 64 bits"),
    "elements that wrap to 2": Malformed(_one(shape=[2**63 + 1, 2]), "beyond 64 bits"),
    "zero behind an overflow": Malformed(
        _one(shape=[2**40, 2**40, 0], data_offsets=[0, 0]), "beyond 64 bits"
    ),
    "three values of four bits": Malformed(
        _one(dtype="F4", shape=[3], data_offsets=[0, 2]), "end inside a byte"
    ),
    "one offset": Malformed(_one(data_offsets=[8]), _ALONE),
    "three offsets": Malformed(_one(data_offsets=[0, 8, 8]), _ALONE),
    "negative offset": Malformed(_one(data_offsets=[-8, 0]), _ALONE),
    "offset is a text": Malformed(_one(data_offsets=["0", "8"]), _ALONE),
    "end before begin": Malformed(_one(data_offsets=[8, 0]), "are 8 bytes, but its place is 8 to 0"),
    "place too short": Malformed(_one(data_offsets=[0, 4]), "are 8 bytes, but its place is 0 to 4"),
    "place too long": Malformed(_one(data_offsets=[0, 16]), "are 8 bytes, but its place is 0 to 16"),
    "scalar of two": Malformed(_one(shape=[]), "are 4 bytes, but its place is 0 to 8"),
    "offset 2^64 - 8": Malformed(_one(data_offsets=[2**64 - 8, 2**64]), "a hole lies before it"),
    "overlap": Malformed(_two((0, 8), (4, 12)), "it overlaps the one before"),
    "two in one place": Malformed(_two((0, 8), (0, 8)), "it overlaps the one before"),
    "hole at the start": Malformed(_two((4, 8), (8, 16)), "a hole lies before it"),
    "hole between": Malformed(_two((0, 4), (8, 16)), "a hole lies before it"),
    "bytes behind the last": Malformed(_two((0, 8), (8, 15)), "has more"),
    "data behind no tensor": Malformed(file("{}", b"\0"), "has more"),
    "data cut by a byte": Malformed(_GOOD[:-1], "cut short"),
    "no data": Malformed(file({"a": _A}), "cut short"),
    "metadata is a list": Malformed(file('{"__metadata__":[]}'), "__metadata__: not an object"),
    "metadata of numbers": Malformed(
        file('{"__metadata__":{"step":1}}'), "__metadata__: not an object of strings at byte"
    ),
    "metadata of null": Malformed(
        file('{"__metadata__":{"step":null}}'), "__metadata__: not an object of strings at byte"
    ),
    "nested metadata": Malformed(
        file('{"__metadata__":{"a":' + "[" * 100_000), "__metadata__: not an object of strings at byte"
    ),
    "metadata key twice": Malformed(
        file('{"__metadata__":{"a":"1","a":"2"}}'), "__metadata__: 'a' occurs twice"
    ),
    "metadata twice": Malformed(file('{"__metadata__":{},"__metadata__":{}}'), "__metadata__: occurs twice"),
    "metadata not closed": Malformed(file('{"__metadata__":{"a":"1"'), "not an object of strings at byte"),
    "comma behind the metadata": Malformed(
        file('{"__metadata__":{"a":"1",}}'), "not an object of strings at byte"
    ),
    "metadata of 65,537 keys": Malformed(
        file({"__metadata__": {str(number): "" for number in range(65_537)}}), "more than 65536 keys"
    ),
    "65,537 tensors": Malformed(
        file(json.dumps({str(number): entry("U8", [0], 0, 0) for number in range(65_537)})),
        "more than 65536 tensors",
    ),
}
