"""A registry that means harm, a stranger beside it, and a real `mrpack` between them.

Every case runs the program with secrets at hand, and `problems_of` says which of five promises it broke: the
exit code and one line of reason; nothing visible in the store that is not what its digest says; no file
outside of the store; no secret with a stranger, in a log or in a file; little memory.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mrpack.content.memory import MemoryTarget
from mrpack.digest import Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import OCI_MANIFEST
from tests.crash import invariants
from tests.crash.zygote import Ended, Zygote
from tests.fakes.raw_server import RawServer, Script
from tests.fakes.registry import FakeRegistry, Fault, Reply, Request, json_reply

REPOSITORY: Final = "team/model"
WEIGHTS: Final = bytes(range(256)) * 1_200
GGUF: Final = "application/vnd.docker.ai.gguf.v3"
CONFIG: Final = "application/vnd.docker.ai.model.config.v0.1+json"
FILE_PATH: Final = "org.cncf.model.filepath"

_USER, _PASSWORD, _TOKEN = "alice", "p4ssword-canary", "token-canary"
_BASIC = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
SECRETS: Final = (_PASSWORD, _TOKEN, _BASIC)
# Python with everything imported takes a third of it.
_PEAK_LIMIT: Final = 150 * 1024 * 1024
# Nothing is asserted of times; what hangs is ended.
_HANGS_S: Final = 120

Command = tuple[str, ...]
Arm = Callable[["Stage"], object]
Check = Callable[["Stage"], Iterable[str]]

PULL: Final[Command] = ("pull", "{remote}", "--jobs", "1")
PULL_EXACTLY: Final[Command] = ("pull", "{exactly}", "--jobs", "1")
PUSH: Final[Command] = ("copy", "oci:{layout}:v1", "{remote}", "--jobs", "1")
RESOLVE: Final[Command] = ("resolve", "{remote}")
REFERRERS: Final[Command] = ("referrers", "{remote}")
# No command of its own: what scripts ask the library for.
TAGS: Final[Command] = ("list the tags", "{remote}")


@dataclass(frozen=True, kw_only=True)
class Case:
    """`arm` bends the registry; the last of `commands` ends with `code` and a line that `says` something."""

    arm: Arm
    code: int
    says: str = ""
    commands: tuple[Command, ...] = (PULL,)
    then: Check | None = None
    tls: bool = False


@dataclass
class Stage:
    """`address` is what the commands are given; a case may put another server there."""

    registry: FakeRegistry
    stranger: FakeRegistry
    folder: Path
    layout: Path
    ca_file: Path
    tls: bool
    closing: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.address = self.registry.address
        self.home = self.folder / "home"
        for name in ("user/.docker", "outside"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "outside" / "precious").write_bytes(b"precious")
        for place in (self.registry, self.stranger):
            self.manifest = publish(place, WEIGHTS)
        challenge = f'Bearer realm="{self.registry.url}/token",service="x"'
        self.registry.token_service = lambda _request: json_reply({"token": _TOKEN})
        self.registry.protect(REPOSITORY, challenge, f"Basic {_BASIC}", f"Bearer {_TOKEN}")
        self.stranger.token_service = lambda _request: json_reply({"token": "a-strangers-token"})
        self.stranger.protect(REPOSITORY, f'Basic realm="come", Bearer realm="{self.stranger.url}/token"')

    @property
    def remote(self) -> str:
        return f"{self.address}/{REPOSITORY}:v1"

    def serve_raw(self, script: Script) -> None:
        """In the registry's place, a server that answers each request with the bytes of a script."""
        self.address = self.closing.enter_context(RawServer(script)).address

    def run(self, zygote: Zygote, command: Command) -> Ended:
        words = {
            "{remote}": self.remote,
            "{exactly}": f"{self.address}/{REPOSITORY}@{self.manifest.descriptor.digest}",
            "{layout}": str(self.layout),
        }
        arguments = [_filled(part, words) for part in command]
        secure = ["--ca-file", str(self.ca_file)] if self.tls and "resolve" not in arguments else []
        return zygote.begin(
            [*arguments, "-vv", *secure],
            str(self.folder / "outside"),
            function="tests.hostile.stage:run_within",
            HOME=str(self.folder / "user"),
            MRPACK_HOME=str(self.home),
        ).wait()

    def problems_of(self, zygote: Zygote, case: Case) -> list[str]:
        case.arm(self)
        logins = {"auths": {self.address: {"auth": _BASIC}}}
        (self.folder / "user" / ".docker" / "config.json").write_text(json.dumps(logins))
        before = _contents(self.folder)
        *first, last = (self.run(zygote, command) for command in case.commands)
        problems = [f"{ended}" for ended in first if ended.code != 0]
        problems += _ending(last, case)
        problems += invariants.check_store(self.home)
        problems += _strays(before, _contents(self.folder))
        problems += self._leaks((*first, last))
        problems += case.then(self) if case.then else ()
        peak = max(ended.peak for ended in (*first, last))
        if peak > _PEAK_LIMIT:
            problems.append(f"{peak // 1024**2} MiB of memory")
        return problems

    def _leaks(self, all_ended: Iterable[Ended]) -> Iterator[str]:
        files = {name: content for name, content in _contents(self.home).items() if len(content) < 2**20}
        for secret in SECRETS:
            if self.stranger.saw(secret):
                yield f"{secret} was shown to the stranger"
            if any(secret in ended.out + ended.err for ended in all_ended):
                yield f"{secret} was printed"
            yield from (f"{secret} is in {name}" for name, data in files.items() if secret.encode() in data)


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text


def _ending(ended: Ended, case: Case) -> Iterator[str]:
    line = ended.err.rstrip("\n").rpartition("\n")[2]
    if ended.code != case.code:
        yield f"exit code {ended.code} instead of {case.code}: {ended.err[-2000:]}"
    if "Traceback" in ended.err or "a bug" in ended.err:
        yield ended.err[-2000:]
    if case.code and not (line.startswith("mrpack: ") and case.says in line and len(line) < 1_000):
        yield f"not a line that says {case.says!r}: {line}"
    if not line.isprintable():
        yield f"signs that move a terminal's cursor: {line!r}"


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if not path.is_dir() and path.stat().st_size < 2**24)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _strays(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    """Outside of the store, bundles and what was unpacked, all files are as they were."""
    kept = ("home/store/", "home/bundles/", "home/unpacked/")
    for name in sorted(before.keys() | after.keys()):
        if not name.startswith(kept) and before.get(name) != after.get(name):
            yield f"{name} was written or removed"


def run_within(arguments: list[str], folder: str) -> int:
    """For a zygote: mrpack in that folder, ended by a signal when it hangs."""
    from mrpack.cli.main import _run

    os.chdir(folder)
    signal.alarm(_HANGS_S)
    if arguments[0] == TAGS[0]:
        return _list_tags(arguments[1])
    return _run(arguments)


def _list_tags(reference: str) -> int:
    import mrpack
    from mrpack.cli.main import _fail
    from mrpack.oci.reference import Reference

    try:
        with mrpack.open_workspace() as workspace:
            print(len(workspace.registry(Reference.parse(reference)).tags()))
    except mrpack.MrpackError as error:
        return _fail(str(error), error.exit_code)
    return 0


# What is published.


@dataclass(frozen=True)
class Layer:
    content: bytes
    media_type: str = GGUF
    path: str = ""

    def describe(self) -> Descriptor:
        annotations = {FILE_PATH: self.path} if self.path else {}
        return Descriptor(
            media_type=self.media_type,
            digest=Digest.of(self.content),
            size=len(self.content),
            annotations=annotations,
        )


def artifact(*layers: Layer | bytes) -> tuple[Manifest, dict[str, bytes]]:
    """A GGUF model of the Docker family, and its blobs."""
    found = [Layer(layer) if isinstance(layer, bytes) else layer for layer in layers]
    config = encode(
        {
            "config": {"format": "gguf"},
            "descriptor": {},
            "rootfs": {"type": "rootfs", "diff_ids": [str(Digest.of(layer.content)) for layer in found]},
        }
    )
    described = Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config))
    manifest = Manifest.build(config=described, layers=[layer.describe() for layer in found])
    return manifest, {str(Digest.of(content)): content for content in (config, *(x.content for x in found))}


def publish(registry: FakeRegistry, *layers: Layer | bytes, tag: str = "v1") -> Manifest:
    manifest, blobs = artifact(*layers)
    for digest, content in blobs.items():
        registry.blobs[REPOSITORY, digest] = content
    offer(registry, manifest.raw, manifest.media_type, tag)
    return manifest


def offer(registry: FakeRegistry, raw: bytes, media_type: str = OCI_MANIFEST, tag: str = "v1") -> None:
    """Any bytes as a manifest, under a tag and under their digest."""
    for name in (tag, str(Digest.of(raw))):
        registry.manifests[REPOSITORY, name] = (media_type, raw)


def write_layout(folder: Path) -> None:
    """What is pushed: other weights than the registry has."""
    from mrpack.content.copy import copy
    from mrpack.store.layout import OciLayout

    manifest, blobs = artifact(WEIGHTS[::-1])
    memory = MemoryTarget()
    for described in manifest.blobs:
        assert memory.add(described.media_type, blobs[str(described.digest)]).digest == described.digest
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    copy(memory, "v1", OciLayout(folder), "v1")


# How to arm.


def served(how: Fault) -> Fault:
    """For answers alone that are no challenge."""
    return lambda request, reply: how(request, reply) if reply.status != 401 else reply


def bend(how: Fault, kind: str, method: str = "GET", times: int | None = None) -> Arm:
    """Answers to one kind of authorized request; the first `times` of them, or all."""

    def arm(stage: Stage) -> None:
        left = times

        def fault(request: Request, reply: Reply) -> Reply:
            nonlocal left
            if (request.kind, request.method) != (kind, method) or reply.status == 401 or left == 0:
                return reply
            left = None if left is None else left - 1
            return how(request, reply)

        stage.registry.fault(REPOSITORY, fault)

    return arm


def weights(how: Fault, times: int | None = None) -> Arm:
    """The blob of weights, and no other."""
    digest = str(Digest.of(WEIGHTS))
    return bend(
        lambda request, reply: how(request, reply) if request.name == digest else reply, "blobs", times=times
    )


def manifests(how: Fault, times: int | None = None) -> Arm:
    return bend(how, "manifests", times=times)


def document(raw: bytes, media_type: str = OCI_MANIFEST) -> Arm:
    """In the manifest's place."""
    return lambda stage: offer(stage.registry, raw, media_type)


def challenge(text: str) -> Arm:
    """`{registry}` and `{stranger}` are their URLs, `{port}` the stranger's port."""

    def arm(stage: Stage) -> None:
        filled = text.replace("{registry}", stage.registry.url).replace("{stranger}", stage.stranger.url)
        stage.registry.protect(REPOSITORY, filled.replace("{port}", str(stage.stranger.port)))

    return arm


def token(reply: Reply) -> Arm:
    """What the token service answers."""

    def arm(stage: Stage) -> None:
        stage.registry.token_service = lambda _request: reply

    return arm


def layers(*found: Layer) -> Arm:
    return lambda stage: publish(stage.registry, *found)


def together(*arms: Arm) -> Arm:
    return lambda stage: [arm(stage) for arm in arms]


def leading(location: str, how: Callable[[str], Arm]) -> Arm:
    """`how`, with `{registry}` and `{stranger}` in the location filled in."""

    def arm(stage: Stage) -> None:
        filled = location.replace("{stranger}", stage.stranger.url).replace("{registry}", stage.registry.url)
        how(filled)(stage)

    return arm
