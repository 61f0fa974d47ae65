"""The errors that end a command with one clear line, and their exit codes. Nothing here imports anything of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["GateFailed", "InputError", "LimbeckError", "Stopped", "unknown_name"]


class LimbeckError(Exception):
    """A failure that the user can act on; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class InputError(LimbeckError):
    """Bad input: says what is wrong, where, and what would be right."""

    exit_code = 2


class GateFailed(LimbeckError):
    """The work was done but a gate (parity, a required int8 form) refused the result."""

    exit_code = 3


class Stopped(LimbeckError):
    """Stopped on request after saving; the same command goes on from there."""

    exit_code = 75


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str = "") -> InputError:
    """Build the error for a name that is in no table, with the nearest valid one.

    Example:
        >>> print(unknown_name("loss", "nkdd", ["kd", "nkd"], where="distill.method"))
        distill.method: unknown loss 'nkdd'; did you mean 'nkd'? (known: kd, nkd)
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)  # what a recipe holds need not be text
    shown = ", ".join(names if len(names) <= 24 else [*names[:24], f"... {len(names)} in all"])
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return InputError(f"{where + ': ' if where else ''}unknown {kind} '{name}'{hint} (known: {shown})")
