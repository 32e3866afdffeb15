"""Fuzzes a target with atheris, which looks for inputs that take new ways through our code.

    python -m tests.fuzz.fuzz --list
    python -m tests.fuzz.fuzz gguf                      from the kept corpus, until a fault or Ctrl-C
    python -m tests.fuzz.fuzz gguf -max_total_time=600  any option of libFuzzer
    python -m tests.fuzz.fuzz gguf --keep FOLDER        adds what FOLDER has found to the kept corpus

New inputs go to a folder aside, given with `--found FOLDER`. A fault writes its input to `crash-…`, to be
kept in `corpus/TARGET/` under a name that says what was wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
# libFuzzer: an input may take so many seconds, and the process so many MiB.
LIMITS = ("-timeout=15", "-rss_limit_mb=1024")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", nargs="?")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--found", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--again", action="store_true", help=argparse.SUPPRESS)
    arguments, options = parser.parse_known_args()

    import atheris  # before what it instruments

    with atheris.instrument_imports(include=["mrpack"]):
        from tests.fuzz.targets import TARGETS, run

    if arguments.list or arguments.target not in TARGETS:
        print("\n".join(TARGETS))
        sys.exit(0 if arguments.list else 2)
    kept = CORPUS / arguments.target
    kept.mkdir(parents=True, exist_ok=True)
    if arguments.again:
        folders = []
    elif arguments.keep:
        folders = ["-merge=1", str(kept), str(arguments.keep)]
    else:
        found = arguments.found or Path(tempfile.mkdtemp(prefix=f"fuzz-{arguments.target}-"))
        found.mkdir(parents=True, exist_ok=True)
        folders = [str(found), str(kept)]
    target = TARGETS[arguments.target]
    # libFuzzer starts its first argument again, through a shell, to merge.
    program = f"{sys.executable} -m tests.fuzz.fuzz {arguments.target} --again"
    atheris.Setup([program, *LIMITS, *options, *folders], lambda raw: run(target, raw))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
