"""What every error promises."""

from __future__ import annotations

import errno

import pytest

from mrpack.errors import HostRefused, InvalidArtifact, NotFound, TransferError, from_os_error, is_of_host


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\udcffb", "a\u2028b"])
def test_an_error_is_one_line_that_a_terminal_does_not_act_on(text: str) -> None:
    error = InvalidArtifact(text, where=text, hint=text)
    assert str(error).isprintable()
    assert str(TransferError(error, side="source", operation="fetch", name=text)).isprintable()


def test_what_can_be_read_stays_as_it_is() -> None:
    assert str(NotFound("naïve · 模型 «ß» é", hint="…")) == "naïve · 模型 «ß» é (…)"


@pytest.mark.parametrize(
    ("number", "says"), [(errno.EFBIG, "larger than a file may be"), (errno.EDQUOT, "no space left")]
)
def test_a_file_system_with_a_limit_on_files_is_not_called_full(number: int, says: str) -> None:
    """4 GiB is the most that FAT32 takes, which many sticks have."""
    error = from_os_error(OSError(number, "?", "/mnt/stick/model.tar"), "write model")
    assert isinstance(error, HostRefused)
    assert says in error.message
    assert "/mnt/stick/model.tar" in error.message


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        *((number, True) for number in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM)),
        *((number, False) for number in (errno.ENOENT, errno.EACCES, errno.EINVAL, errno.EBADF)),
    ],
)
def test_a_failing_disk_is_told_from_a_bug(number: int, expected: bool) -> None:
    assert is_of_host(OSError(number, "?")) is expected
