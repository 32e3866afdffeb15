"""Plays what strace wrote down on a model of the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.crash.disk_model import Disk, File, Folder, Node

_LINE = re.compile(r"(?P<pid>\d+)\s+(?P<call>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+|\?)(?P<rest>.*)")
_HANDLE = re.compile(r"(\d+)<((?:[^<>]|\\x[0-9a-f]{2})*)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_SIZES_OF_CALLS = {"read": 1, "readv": 1, "pread64": 0}


@dataclass
class _Opened:
    node: Node
    position: int = 0


class Recording:
    """Changes `disk` call by call; `steps` yields after each call that changed it."""

    def __init__(self, disk: Disk, log: str) -> None:
        self._disk = disk
        self._log = log
        self._open: dict[int, _Opened] = {}

    def steps(self) -> Iterator[str]:
        for line in self._log.splitlines():
            found = _LINE.fullmatch(line)
            if found is None or found["result"] in {"?", "-1"} or "(INJECTED)" in line:
                continue
            play = getattr(self, f"_{found['call']}", None)
            if play is not None and play(found["arguments"], int(found["result"])):
                yield f"{found['call']}({_readable(found['arguments'])})"

    # Calls; each says whether the disk changed.

    def _openat(self, arguments: str, result: int) -> bool:
        path = _paths(arguments)[0]
        if not self._disk.holds(path):
            self._open.pop(result, None)
            return False
        if "O_TMPFILE" in arguments:
            self._open[result] = _Opened(File())
            return False
        node = self._disk.find(path)
        is_new = node is None
        if node is None:
            assert "O_CREAT" in arguments, arguments
            node = self._disk.create(path, File())
        if "O_TRUNC" in arguments and isinstance(node, File):
            node.live.clear()
        self._open[result] = _Opened(node)
        return is_new or "O_TRUNC" in arguments

    def _close(self, arguments: str, _result: int) -> bool:
        self._open.pop(_handle(arguments), None)
        return False

    def _write(self, arguments: str, result: int) -> bool:
        opened = self._open.get(_handle(arguments))
        if opened is None:
            return False
        assert isinstance(opened.node, File)
        _put(opened.node, opened.position, _strings(arguments)[0][:result])
        opened.position += result
        return True

    def _pwrite64(self, arguments: str, result: int) -> bool:
        opened = self._open.get(_handle(arguments))
        if opened is None:
            return False
        assert isinstance(opened.node, File)
        _put(opened.node, int(arguments.rpartition(",")[2]), _strings(arguments)[0][:result])
        return True

    def _read(self, arguments: str, result: int) -> bool:
        opened = self._open.get(_handle(arguments))
        if opened is not None:
            opened.position += result
        return False

    _readv = _read

    def _lseek(self, arguments: str, result: int) -> bool:
        opened = self._open.get(_handle(arguments))
        if opened is not None:
            opened.position = result
        return False

    def _copy_file_range(self, arguments: str, result: int) -> bool:
        reading, writing = (self._open.get(int(number)) for number, _ in _HANDLE.findall(arguments))
        if writing is None or result == 0:
            return False
        assert reading is not None, "a copy from outside of the model"
        assert isinstance(reading.node, File)
        assert isinstance(writing.node, File)
        content = bytes(reading.node.live[reading.position : reading.position + result])
        _put(writing.node, writing.position, content)
        reading.position += result
        writing.position += result
        return True

    def _ftruncate(self, arguments: str, _result: int) -> bool:
        opened = self._open.get(_handle(arguments))
        if opened is None:
            return False
        assert isinstance(opened.node, File)
        length = int(arguments.rpartition(",")[2])
        opened.node.live[:] = opened.node.live[:length].ljust(length, b"\0")
        return True

    def _ioctl(self, arguments: str, _result: int) -> bool:
        assert "FICLONE" not in arguments, "the model knows no reflinks: run it on a filesystem without them"
        return False

    def _fsync(self, arguments: str, _result: int) -> bool:
        opened = self._open.get(_handle(arguments))
        if opened is not None:
            opened.node.sync()
        return False

    _fdatasync = _fsync

    def _mkdir(self, arguments: str, _result: int) -> bool:
        path = _paths(arguments)[0]
        if self._disk.holds(path):
            self._disk.create(path, Folder())
        return self._disk.holds(path)

    def _unlink(self, arguments: str, _result: int) -> bool:
        path = _paths(arguments)[0]
        if self._disk.holds(path):
            self._disk.remove(path)
        return self._disk.holds(path)

    _unlinkat = _rmdir = _unlink

    def _rename(self, arguments: str, _result: int) -> bool:
        old, new = _paths(arguments)
        if self._disk.holds(new):
            self._disk.rename(old, new)
        return self._disk.holds(new)

    _renameat2 = _renameat = _rename

    def _link(self, arguments: str, _result: int) -> bool:
        old, new = _paths(arguments)
        is_nameless = old.parent == Path("/proc/self/fd")
        node = self._open[int(old.name)].node if is_nameless else self._disk.find(old)
        assert node is not None, f"a link from outside of the model: {old}"
        self._disk.create(new, node)
        return True

    _linkat = _link


def _put(file: File, position: int, content: bytes) -> None:
    file.live.extend(bytes(max(0, position - len(file.live))))
    file.live[position : position + len(content)] = content


def _strings(arguments: str) -> list[bytes]:
    return [bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(arguments)]


def _paths(arguments: str) -> list[Path]:
    """Absolute, since the programs that are recorded use such paths; handles of folders stand before relative
    ones.
    """
    folders = [_decode(path) for _, path in _HANDLE.findall(arguments)]
    names = [Path(name.decode()) for name in _strings(arguments)]
    folder = Path(folders[0]) if folders else Path("/")
    return [folder / name for name in names]


def _decode(text: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text)


def _handle(arguments: str) -> int:
    found = _HANDLE.match(arguments)
    return int(found[1]) if found else -1


def _readable(arguments: str) -> str:
    return _STRING.sub(lambda found: repr(_decode(found[1])[-60:]), arguments)[-200:]
