"""GGUF files that must be refused, each with the words that its refusal has to hold."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.fakes.raw_gguf import ARRAY, BOOL, I8, STRING, U8, U32, U64, array, gguf, pair, string, tensor


class Malformed(NamedTuple):
    content: bytes
    reason: str


_NAME = pair("general.name", STRING, "tiny")
_F32, _Q4_0 = 0, 2
_GOOD = gguf([_NAME], [tensor("a", [8]), tensor("b", [8], offset=32)], bytes(64))


def _aligned_to(value: int, value_type: int = U32) -> bytes:
    return gguf([pair("general.alignment", value_type, value)], [tensor("a", [8])], bytes(32))


def _claimed_string(length: int) -> bytes:
    """A string value that claims `length` bytes and has four."""
    value = length.to_bytes(8, "little") + b"tiny"
    return gguf([string("general.name") + STRING.to_bytes(4, "little") + value])


MALFORMED: Final[dict[str, Malformed]] = {
    "empty file": Malformed(b"", "an empty file"),
    "magic alone": Malformed(b"GGUF", "ends after 4 bytes"),
    "cut preamble": Malformed(_GOOD[:20], "ends after 20 bytes"),
    "other magic": Malformed(b"NOTGGUF", "starts with b'NOTG'"),
    "Git LFS pointer": Malformed(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"
    ),
    "zip archive": Malformed(b"PK\x03\x04" + bytes(60), "a zip archive"),
    "web page": Malformed(b"<!DOCTYPE html><title>404</title>", "a web page"),
    "GGML file": Malformed(b"lmgg" + bytes(60), "from before GGUF"),
    "reversed magic": Malformed(gguf([_NAME], magic=b"FUGG"), "big-endian"),
    "big-endian version": Malformed(gguf([_NAME], version=0x03000000), "big-endian"),
    "version 0": Malformed(gguf([_NAME], version=0), "version 0"),
    "version 1": Malformed(gguf([_NAME], version=1), "version 1"),
    "version 99": Malformed(gguf([_NAME], version=99), "version 99"),
    "2^61 tensors": Malformed(gguf([_NAME], tensor_count=2**61), "at most 65536"),
    "2^61 keys": Malformed(gguf([_NAME], key_count=2**61), "at most 65536"),
    "one key too many": Malformed(gguf([_NAME] * 3, key_count=65_537), "at most 65536"),
    "more keys than bytes": Malformed(gguf([_NAME], key_count=1000), "has only"),
    "more tensors than bytes": Malformed(gguf([_NAME], tensor_count=1000), "has only"),
    "one key missing": Malformed(gguf([_NAME, pair("general.author", STRING, "a")[:20]]), "has only"),
    "empty key": Malformed(gguf([pair("", U32, 1), _NAME]), "has no name"),
    "key not UTF-8": Malformed(gguf([pair(b"\xff\xfe", U32, 1)]), "not UTF-8"),
    "key of 65,536 bytes": Malformed(gguf([pair("k" * 65_536, U32, 1)]), "at most 65535"),
    "key length 2^63": Malformed(gguf([(2**63).to_bytes(8, "little") + bytes(20)]), "at most 65535"),
    "duplicate key": Malformed(gguf([_NAME, _NAME]), "occurs twice"),
    "unknown value type": Malformed(
        gguf([string("k") + (13).to_bytes(4, "little") + bytes(8)]), "value type 13"
    ),
    "bool of 2": Malformed(gguf([pair("k", BOOL, 2)]), "bool with the value 2"),
    "bool of 2 in an array": Malformed(gguf([array("k", BOOL, [0, 1, 2])]), "bool with the value 2"),
    "array of arrays": Malformed(gguf([array("k", ARRAY, (), 2) + bytes(24)]), "array of arrays"),
    "array of unknown type": Malformed(gguf([array("k", 77, (), 2) + bytes(24)]), "value type 77"),
    "2^61 strings in 49 bytes": Malformed(gguf([array("k", STRING, (), 2**61)]), "has only"),
    "2^62 numbers": Malformed(gguf([array("k", U64, (), 2**62)]), "has only"),
    "2^30 bytes that are not there": Malformed(gguf([array("k", U8, (), 2**30)]), "has only"),
    "one number missing": Malformed(gguf([array("k", I8, [1] * 9, 10)]), "has only"),
    "long array of numbers cut": Malformed(gguf([array("k", I8, [1] * 99, 100)]), "has only"),
    "long array of strings cut": Malformed(gguf([array("k", STRING, ["token"] * 99, 100)]), "has only"),
    "last string beyond the end": Malformed(
        gguf([array("k", STRING, ["token"] * 99, 100) + (9).to_bytes(8, "little")]), "has only"
    ),
    "huge string among many": Malformed(
        gguf([array("k", STRING, ["token"] * 60, 100) + b"\xff" * 8 + bytes(400)]), "at most 16777216"
    ),
    "string length 2^62": Malformed(_claimed_string(2**62), "at most 16777216"),
    "string length 2^63 - 1": Malformed(_claimed_string(2**63 - 1), "at most 16777216"),
    "string length 2^64 - 8": Malformed(_claimed_string(2**64 - 8), "at most 16777216"),
    "string beyond the end": Malformed(_claimed_string(5), "has only"),
    "string over the limit": Malformed(_claimed_string(16 * 1024 * 1024 + 1), "at most 16777216"),
    "alignment 0": Malformed(_aligned_to(0), "not a power of two"),
    "alignment 3": Malformed(_aligned_to(3), "not a power of two"),
    "alignment 2^20": Malformed(_aligned_to(2**20), "not a power of two up to 65536"),
    "alignment of 64 bits": Malformed(_aligned_to(32, U64), "not UINT32"),
    "tensor without a name": Malformed(gguf([], [tensor("", [8])], bytes(32)), "has no name"),
    "tensor name not UTF-8": Malformed(gguf([], [tensor(b"\xc3", [8])], bytes(32)), "not UTF-8"),
    "tensor name of 256 bytes": Malformed(gguf([], [tensor("t" * 256, [8])], bytes(32)), "at most 255"),
    "duplicate tensor": Malformed(
        gguf([], [tensor("a", [8]), tensor("a", [8], offset=32)], bytes(64)), "occurs twice"
    ),
    "five dimensions": Malformed(gguf([], [tensor("a", [1] * 5)], bytes(32)), "5 dimensions"),
    "2^32 - 1 dimensions": Malformed(
        gguf([], [string("a") + b"\xff" * 4 + bytes(40)], bytes(32)), "4294967295 dimensions"
    ),
    "dimension of 2^63": Malformed(gguf([], [tensor("a", [2**63, 0])], bytes(32)), "beyond 64 bits"),
    "elements beyond 64 bits": Malformed(
        gguf([], [tensor("a", [2**32, 2**32])], bytes(32)), "beyond 64 bits"
    ),
    "elements that wrap to 0": Malformed(
        gguf([], [tensor("a", [2**16, 2**16, 2**16, 2**16])], bytes(32)), "beyond 64 bits"
    ),
    "unknown tensor type": Malformed(gguf([], [tensor("a", [8], 1000)], bytes(32)), "unknown type 1000"),
    "removed tensor type": Malformed(gguf([], [tensor("a", [32], 31)], bytes(32)), "Q4_0_4_4"),
    "row of half a block": Malformed(
        gguf([], [tensor("a", [16], _Q4_0)], bytes(32)), "not a multiple of the 32"
    ),
    "quantized scalar": Malformed(gguf([], [tensor("a", [], _Q4_0)], bytes(32)), "not a multiple of the 32"),
    "unaligned offset": Malformed(
        gguf([], [tensor("a", [8]), tensor("b", [8], offset=33)], bytes(96)), "not a multiple of 32"
    ),
    "overlapping tensors": Malformed(
        gguf([], [tensor("a", [16]), tensor("b", [8], offset=32)], bytes(96)), "at offset 32, not"
    ),
    "gap between tensors": Malformed(
        gguf([], [tensor("a", [8]), tensor("b", [8], offset=64)], bytes(96)), "at offset 64, not"
    ),
    "offset 2^64 - 32": Malformed(gguf([], [tensor("a", [8], offset=2**64 - 32)], bytes(32)), "not behind"),
    "tensor larger than the file": Malformed(gguf([], [tensor("a", [1024, 1024])], bytes(64)), "has only"),
    "data cut by a byte": Malformed(_GOOD[:-1], "has only"),
    "no data": Malformed(gguf([], [tensor("a", [8])]), "has only"),
    "cut inside the tensor list": Malformed(_GOOD[:90], "has only"),
    "empty tensors behind the end": Malformed(gguf([], [tensor("a", [0])])[:-1], "has only"),
}
