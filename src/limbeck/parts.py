"""A part by its name: an entry of one of our literal tables, or anyone's `package.module:name`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.errors import InputError, unknown_name

__all__ = ["find_part", "is_outside"]


def is_outside(name: str) -> bool:
    """Tell whether `name` has the form `package.module:name` (a part that lives outside Limbeck)."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(piece.isidentifier() for piece in module.split("."))


def find_part(kind: str, name: str, table: Mapping[str, Any], *, where: str = "") -> Any:
    """Return `table[name]`, or import `package.module:name`.

    An outside module is looked for on the import path and in the working directory.

    Raises:
        InputError: no such name in the table, module, or attribute in the module.
    """
    if name in table:
        return table[name]
    if not is_outside(name):
        raise unknown_name(kind, name, table, where=where)
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    prefix = f"{where}: " if where else ""
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"{prefix}{kind} '{name}': cannot import '{module_name}' ({error})") from error
    finally:
        sys.path.remove(here)
    if not hasattr(module, attribute):
        raise InputError(f"{prefix}{kind} '{name}': module '{module_name}' has no '{attribute}'")
    return getattr(module, attribute)
