"""Calls llama.cpp's library to quantize one model; run by an engine's Python, imports nothing of ours.

    python -I run_llama_quantize.py '{"library": …, "source": …, "target": …, "file_type": 15, …}'

Progress and reasons are what the library itself writes to standard error. Ends with status 1 when it fails,
with 2 when the library cannot be used.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any


class Parameters(ctypes.Structure):
    """llama_model_quantize_params of llama.h: the head, which has been the same since 2023, and room.

    Its end differs between versions; whatever it has got, the library's own defaults are in it.
    """

    _fields_ = (
        ("nthread", ctypes.c_int32),
        ("ftype", ctypes.c_int),
        ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int),
        ("allow_requantize", ctypes.c_bool),
        ("rest", ctypes.c_uint8 * 512),
    )


def quantize(wanted: dict[str, Any]) -> int:
    library = ctypes.CDLL(wanted["library"])
    library.llama_model_quantize_default_params.restype = Parameters
    library.llama_model_quantize.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters))
    library.llama_model_quantize.restype = ctypes.c_uint32
    library.llama_backend_init()
    parameters = library.llama_model_quantize_default_params()
    parameters.nthread = wanted["threads"]
    parameters.ftype = wanted["file_type"]
    parameters.allow_requantize = wanted["requantize"]
    paths = (wanted["source"].encode(), wanted["target"].encode())
    return int(library.llama_model_quantize(*paths, ctypes.byref(parameters)))


def main() -> int:
    try:
        return 1 if quantize(json.loads(sys.argv[1])) else 0
    except (OSError, AttributeError) as error:
        sys.stderr.write(f"error: this library of llama.cpp does not fit: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
