"""Values as scripts: JSON, with arrays as base64 of their bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

#: array types that a page's script can read, by the name that it knows them by
TYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
    "int32": np.dtype("<i4"),
}


def packed(array: Any, kind: str) -> dict[str, Any]:
    """Return an array as ``{"shape": [...], KIND: base64}``, little-endian, last axis fastest.

    Args:
        array: anything that numpy makes an array of.
        kind: ``"float32"``, ``"uint8"`` or ``"int32"``.

    Raises:
        ValueError: the array's values do not fit into that type.
    """
    given = np.asarray(array)
    kept = given.astype(TYPES[kind])
    if kind != "float32" and not np.array_equal(given, kept):
        raise ValueError(f"values from {given.min()} to {given.max()}; expected those of {kind}")
    return {
        "shape": list(given.shape),
        kind: base64.b64encode(np.ascontiguousarray(kept).tobytes()).decode("ascii"),
    }


def script(name: str, value: Any) -> str:
    """Return the script that sets ``trustdd.NAME`` to a value.

    Args:
        name: a name as JavaScript has them.
        value: what JSON can say; infinite numbers and NaN are refused.

    Raises:
        ValueError: JSON cannot say it.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"(window.trustdd ??= {{}}).{name} = {text};\n"
