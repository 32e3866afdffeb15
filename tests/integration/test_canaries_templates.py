"""Chat templates that try to leave their engine, or never to end; sent, and run by the real llama.cpp."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.demands import demand
from tests.fakes.tiny_gguf import ANSWER, write_templated
from tests.integration.conftest import Registry
from tests.integration.launchers import LAUNCHERS
from tests.integration.travel import sent
from tests.program import Mrpack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.registry,
    pytest.mark.skipif(sys.platform == "win32", reason="serving"),
]

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
    mrpack: Mrpack, anonymous_registry: Registry, tmp_path: Path, canary: Path, number: int
) -> None:
    """It may be refused, or fail a request; what counts is what it does not do."""
    demand("" if "xllamacpp" in LAUNCHERS else "llama.cpp is not installed")
    model = write_templated(tmp_path, ESCAPES[number].replace("CANARY", str(canary)))
    name = sent(anonymous_registry, mrpack, tmp_path, "--gguf", model, "--allow-code")
    with mrpack.start("run", name, "hi", "--threads", "1", "--sandbox", "off") as process:
        out, err = process.communicate()
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
