"""Where a few slips in someone's data end: the share of bad ones beyond which something else was meant.

What does not live here: collecting what was left out (`review`).
"""

from __future__ import annotations

__all__ = ["too_many"]

_MAX_SHARE = 0.1


def too_many(bad: int, total: int) -> bool:
    """Whether so many bad ones are a wrong folder, column or format, and no slips: more than a tenth, and than one.

    Example:
        >>> too_many(1, 2), too_many(2, 20), too_many(3, 20)
        (False, False, True)
    """
    return bad > max(1, _MAX_SHARE * total)
