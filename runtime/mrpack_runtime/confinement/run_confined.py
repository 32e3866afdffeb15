"""Confines itself as far as it is told, and becomes another program; Linux alone, imports nothing of ours.

    python -I -S run_confined.py '{"abi": 7, "execute": ["/usr"], "write": ["/r"], …}' PROGRAM [ARGUMENT …]

Needs no rights: what a process gives up, it and its children never get back. `abi` is that of Landlock;
paths below `execute` can be read and run, below `read` read, below `names` only listed, below `write` changed
as well, below `devices` read, written and spoken to by ioctl. Paths that are not there are left out. `ports`:
TCP ports that it may listen on (null: TCP is not ruled by Landlock); `own_network`: a network of its own,
which has a loopback and nothing else; `only_unix`: no sockets but Unix ones, by a filter on system calls.
What cannot be done ends the program with status 126: an engine is never less confined than was said.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import stat
import struct
import sys
from contextlib import suppress
from typing import Any, Final, NoReturn

_CANNOT_CONFINE: Final = 126
_CANNOT_START: Final = 127

# linux/landlock.h; the numbers of the system calls are the same on all architectures but Alpha.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_NET_PORT: Final = 2
_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_TRUNCATE: Final = 1 << 14
_IOCTL_DEV: Final = 1 << 15
_BIND_TCP: Final = 1 << 0
_CONNECT_TCP: Final = 1 << 1
_SCOPE_ABSTRACT_UNIX_SOCKET: Final = 1 << 0
_SCOPE_SIGNAL: Final = 1 << 1
# How many rights on files each version rules: 13 at first, then REFER, TRUNCATE, (TCP), IOCTL_DEV.
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_FILE_RIGHTS: Final = 16
_NETWORK_ABI: Final = 4
_SCOPE_ABI: Final = 6
# What is meaningful for something that is no folder.
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ: Final = _READ_FILE | _READ_DIR
_RIGHTS: Final = {
    "execute": _READ | _EXECUTE,
    "read": _READ,
    "names": _READ_DIR,
    # All but running what was written, device nodes, and ioctl on devices.
    "write": (1 << 15) - 1 & ~(_EXECUTE | 1 << 6 | 1 << 11),
    "devices": _READ | _WRITE_FILE | _IOCTL_DEV,
}

# linux/prctl.h, linux/seccomp.h, linux/filter.h, linux/audit.h
_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_SECCOMP_ALLOW: Final = 0x7FFF0000
_SECCOMP_KILL: Final = 0x80000000
_SECCOMP_ERRNO: Final = 0x00050000
_EAFNOSUPPORT: Final = 97
_ENOSYS: Final = 38
# By machine: the architecture's name for the audit, and its number of `socket`.
_SOCKET: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198), "riscv64": (0xC00000F3, 198)}
# It makes sockets without a system call for each; the number is the same everywhere.
_IO_URING_SETUP: Final = 425
_X32_BIT: Final = 0x40000000
# With netlink, libraries ask for the list of network interfaces.
_AF_UNIX: Final = 1
_AF_NETLINK: Final = 16

# linux/capability.h: what root keeps: files of other users as permissions go, locked memory, priorities.
_KEPT: Final = frozenset({0, 1, 2, 3, 14, 23})

# linux/sched.h, linux/sockios.h, linux/if.h
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return result


def _system_call(what: str, number: int, *arguments: Any) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *words), what)


def _prctl(what: str, option: int, *arguments: Any) -> None:
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    _checked(_LIBC.prctl(ctypes.c_int(option), *words, *[ctypes.c_ulong(0)] * (4 - len(words))), what)


def landlock_abi() -> int:
    """Of this kernel, from 1.

    Raises:
        OSError: ENOSYS when it was built without Landlock, EOPNOTSUPP when it was started without.
    """
    return _system_call("landlock", _CREATE_RULESET, None, 0, _VERSION_FLAG)


def has_seccomp() -> bool:
    """Whether filters on system calls can be set, and we have one for this machine."""
    # Without a filter to read, EFAULT says that there could have been one.
    _LIBC.prctl(ctypes.c_int(_PR_SET_SECCOMP), ctypes.c_ulong(_SECCOMP_MODE_FILTER), None, None, None)
    return ctypes.get_errno() == 14 and os.uname().machine in _SOCKET  # EFAULT


def own_network() -> None:
    """A network namespace with nothing in it but a loopback that is up; needs user namespaces."""
    user, group, parent = os.getuid(), os.getgid(), os.getppid()
    _checked(_LIBC.unshare(ctypes.c_int(_CLONE_NEWUSER | _CLONE_NEWNET)), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    import socket  # noqa: PLC0415  # it takes as long as all the rest

    with socket.socket() as asked:
        request = fcntl.ioctl(asked, _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack_from("16sh", request)[1]
        fcntl.ioctl(asked, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))
    # New credentials may have taken away what the leash set: to die with it.
    _prctl("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_CANNOT_CONFINE)


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def drop_capabilities() -> None:
    """Of root, for good from the next program on; anybody else has none.

    With them root could read the memory and the environment of all other processes, Landlock or not.
    """
    number = 0
    while (held := _LIBC.prctl(ctypes.c_int(_PR_CAPBSET_READ), ctypes.c_ulong(number))) >= 0:
        if (
            held
            and number not in _KEPT
            and _LIBC.prctl(ctypes.c_int(_PR_CAPBSET_DROP), ctypes.c_ulong(number))
        ):
            return  # not root
        number += 1


def rule_files(rules: dict[str, Any]) -> None:
    """From now on only what the rules allow; of TCP, signals and abstract sockets what the ABI knows of."""
    abi = rules["abi"]
    handled = (1 << _FILE_RIGHTS.get(abi, _ALL_FILE_RIGHTS)) - 1
    ports = rules.get("ports") if abi >= _NETWORK_ABI else None
    network = 0 if ports is None else _BIND_TCP | _CONNECT_TCP
    scoped = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL
    attributes = struct.pack("=QQQ", handled, network, scoped)
    size = 8 if abi < _NETWORK_ABI else 16 if abi < _SCOPE_ABI else 24
    ruleset = _system_call("landlock_create_ruleset", _CREATE_RULESET, attributes, size, 0)
    for kind, rights in _RIGHTS.items():
        for path in rules.get(kind, ()):
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(ruleset, path, rights & handled)
    for port in ports or ():
        _system_call(
            "landlock_add_rule", _ADD_RULE, ruleset, _NET_PORT, struct.pack("=QQ", _BIND_TCP, port), 0
        )
    _system_call("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(file).st_mode):
            rights &= _OF_FILES
        if rights:
            beneath = struct.pack("=Qi", rights, file)
            _system_call("landlock_add_rule", _ADD_RULE, ruleset, _PATH_BENEATH, beneath, 0)
    finally:
        os.close(file)


def only_unix_sockets() -> None:
    """Other families are not supported any more, as on a machine without a network."""
    architecture, number = _SOCKET[os.uname().machine]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    x32 = _X32_BIT if os.uname().machine == "x86_64" else 0xFFFFFFFF
    # struct seccomp_data: nr at 0, arch at 4, the low half of the first argument at 16 (all little-endian).
    # The last two numbers of a comparison: how many steps to skip when it holds, and when it does not.
    program = (
        (load, 0, 0, 4),
        (equal, 0, 8, architecture),  # another one: kill
        (load, 0, 0, 0),
        (at_least, 6, 0, x32),  # x32: kill
        (equal, 6, 0, _IO_URING_SETUP),
        (equal, 0, 6, number),  # not `socket`: allow
        (load, 0, 0, 16),
        (equal, 4, 0, _AF_UNIX),
        (equal, 3, 0, _AF_NETLINK),
        (give, 0, 0, _SECCOMP_ERRNO | _EAFNOSUPPORT),
        (give, 0, 0, _SECCOMP_KILL),
        (give, 0, 0, _SECCOMP_ERRNO | _ENOSYS),
        (give, 0, 0, _SECCOMP_ALLOW),
    )
    code = b"".join(
        struct.pack("=HBBI", word, yes, no, value)
        if word in (equal, at_least)
        else struct.pack("=HBBI", word, 0, 0, value)
        for word, yes, no, value in program
    )
    buffer = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    _prctl("seccomp", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header)


def confine(rules: dict[str, Any]) -> None:
    """Raises OSError."""
    _prctl("prctl", _PR_SET_NO_NEW_PRIVS, 1)
    if rules.get("own_network"):
        own_network()
    drop_capabilities()
    if rules.get("abi"):
        rule_files(rules)
    if rules.get("only_unix"):
        only_unix_sockets()


def main() -> NoReturn:
    rules, *argv = sys.argv[1:]
    try:
        confine(json.loads(rules))
    except OSError as error:
        sys.stderr.write(f"error: cannot confine the engine: {error.filename}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(_CANNOT_CONFINE)
    try:
        os.execv(argv[0], argv)  # noqa: S606  # there is no shell here, which is the point
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(_CANNOT_START)


if __name__ == "__main__":
    main()
