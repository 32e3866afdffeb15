"""Reference: the name of an artifact in a registry, `[registry/]repository[:tag][@digest]`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Self

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, UsageError

# distribution-spec 1.1, "Pulling manifests".
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_REGISTRY = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[a-fA-F0-9:]+\])(?::(\d{1,5}))?"
)
# Short for the same place.
_ALIASES: Final = {"index.docker.io": "docker.io", "hf.co": "huggingface.co"}
# For people who bring the file itself, as other programs take it.
_OF_FILES: Final = "a file becomes a model with a name first: `mrpack package PATH NAME`"
_FORM: Final = "write [registry/]repository[:tag][@digest]"
_OF_TAGS: Final = "1 to 128 letters a to z, digits, dots, dashes and underscores, the first no dot or dash"
_REPOSITORY_LIMIT: Final = 255  # characters with the registry, as Distribution counts them


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceDefaults:
    """What a short name leaves out: `smollm2` is `docker.io/ai/smollm2:latest`. Settings of the user."""

    registry: str = "docker.io"
    namespace: str = "ai"
    tag: str = "latest"


_DEFAULTS: Final = ReferenceDefaults()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A full name. With both tag and digest, the digest decides and the tag is remembered."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, defaults: ReferenceDefaults | None = None) -> Self:
        """Case of the repository is folded (as Docker Model Runner does); tags keep theirs.

        Raises UsageError that names the part that is wrong.
        """
        defaults = defaults or _DEFAULTS
        rest, has_digest, digest_text = text.strip().partition("@")
        try:
            digest = Digest.parse(digest_text) if has_digest else None
        except InvalidArtifact:
            raise _bad(text, f"digest {digest_text[:80]!r}") from None
        tag = None
        name, colon, suffix = rest.rpartition(":")
        if colon and "/" not in suffix and not rest.endswith("]"):
            rest, tag = name, suffix or defaults.tag
        first, slash, remainder = rest.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost" or first.startswith("[")):
            registry, repository = first, remainder
        else:
            registry, repository = defaults.registry, rest
        registry = _ALIASES.get(registry, registry)
        if "/" not in repository and registry == defaults.registry and defaults.namespace:
            repository = f"{defaults.namespace}/{repository}"
        repository = repository.lower()
        port = _REGISTRY.fullmatch(registry)
        if port is None or (port[1] and not 0 < int(port[1]) < 65536):
            raise _bad(text, f"registry {registry!r}")
        if not _REPOSITORY.fullmatch(repository) or len(registry) + len(repository) >= _REPOSITORY_LIMIT:
            raise _bad(text, f"repository {repository[:80]!r}")
        if tag is None and digest is None:
            tag = defaults.tag
        if tag is not None and not _TAG.fullmatch(tag):
            raise _bad(text, f"tag {tag[:80]!r}", _OF_TAGS)
        return cls(registry=registry, repository=repository, tag=tag, digest=digest)

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag."""
        return str(self.digest) if self.digest else str(self.tag)

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def with_tag(self, tag: str) -> Self:
        if not _TAG.fullmatch(tag):
            raise _bad(tag, "tag", _OF_TAGS)
        return replace(self, tag=tag, digest=None)

    def familiar(self, defaults: ReferenceDefaults | None = None) -> str:
        """As short as `parse` with the same defaults would read it back."""
        defaults = defaults or _DEFAULTS
        text = self.name
        if self.registry == defaults.registry:
            text = self.repository.removeprefix(f"{defaults.namespace}/")
            if "/" in text:
                text = self.repository
        if self.tag is not None and (self.tag != defaults.tag or self.digest):
            text += f":{self.tag}"
        return text + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _bad(text: str, part: str, hint: str = _FORM) -> UsageError:
    is_path = text.startswith((".", "/", "~"))
    return UsageError(
        f"bad reference {text[:200]!r}: {part} is not allowed", hint=_OF_FILES if is_path else hint
    )
