"""DDUF: a Diffusers pipeline in one file, read strictly, written reproducibly, unpacked for engines."""

from mrpack.formats.dduf.archive import ContentCheck, DdufArchive, check_content, parse_dduf, read_dduf
from mrpack.formats.dduf.directory import DdufEntry
from mrpack.formats.dduf.rules import reason_against
from mrpack.formats.dduf.survey import survey
from mrpack.formats.dduf.unpack import unpack
from mrpack.formats.dduf.writer import Advance, write_dduf

__all__ = [
    "Advance",
    "ContentCheck",
    "DdufArchive",
    "DdufEntry",
    "check_content",
    "parse_dduf",
    "read_dduf",
    "reason_against",
    "survey",
    "unpack",
    "write_dduf",
]
