"""Names of Hugging Face repositories: `hf.co/ORG/REPO[:WISH][@REVISION]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mrpack.errors import UsageError
from mrpack.oci.reference import Reference, ReferenceDefaults

HUB_REGISTRY: Final = "huggingface.co"

_HOST = re.compile(r"(?:https://)?(?:hf\.co|huggingface\.co)/", re.IGNORECASE)
# huggingface_hub, validate_repo_id; a wish is what a tag may be, a revision what git may call one.
_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REST = re.compile(
    rf"(?P<repository>{_PART}/{_PART})/?"
    r"(?::(?P<wish>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{0,199}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubReference:
    """`wish`: which model of the repository, None for the only one. `revision`: branch, tag or commit."""

    repository: str
    wish: str | None = None
    revision: str | None = None

    @property
    def url(self) -> str:
        """Where people look at the repository."""
        return f"https://{HUB_REGISTRY}/{self.repository}"

    def local_name(self, defaults: ReferenceDefaults | None = None) -> Reference:
        """The reference under which `pull` keeps the model: as it was asked for, without the revision.

        Raises:
            UsageError: the repository has a name that no registry takes.
        """
        defaults = defaults or ReferenceDefaults()
        try:
            return Reference.parse(f"{HUB_REGISTRY}/{self.repository}:{self.wish or defaults.tag}", defaults)
        except UsageError:
            raise UsageError(
                f"{self.repository!r} cannot be the name of an artifact",
                hint=f"choose one: `mrpack package hf.co/{self} NAME`",
            ) from None

    def __str__(self) -> str:
        wish = f":{self.wish}" if self.wish else ""
        return f"{self.repository}{wish}" + (f"@{self.revision}" if self.revision else "")


def is_hub_reference(text: str) -> bool:
    """With a digest it is the name of an artifact, wherever that came from."""
    return _HOST.match(text.strip()) is not None and "@sha" not in text


def parse_hub_reference(text: str, defaults: ReferenceDefaults | None = None) -> HubReference:
    """Takes the address of the repository's page too. The default tag (`latest`) is no wish.

    Raises:
        UsageError: not such a name.
    """
    stripped = text.strip()
    host = _HOST.match(stripped)
    match = _REST.fullmatch(stripped, host.end()) if host else None
    if match is None or not _is_allowed(match["repository"], match["revision"] or ""):
        raise UsageError(
            f"bad name of a Hugging Face repository: {text[:200]!r}",
            hint="write hf.co/ORG/REPO[:QUANTIZATION][@REVISION]",
        )
    wish = match["wish"]
    if wish == (defaults or ReferenceDefaults()).tag:
        wish = None
    return HubReference(repository=match["repository"], wish=wish, revision=match["revision"])


def _is_allowed(repository: str, revision: str) -> bool:
    """What the hub, and git, forbid beyond characters."""
    if "--" in repository or ".." in repository or repository.endswith(".git"):
        return False
    return ".." not in revision
