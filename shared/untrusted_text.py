"""Text that clients wrote, made fit for a line that people read: a log, an error, a list. No I/O."""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode: control and format characters, half surrogate pairs, what is nothing yet, line separators."""
_BLANK_LETTERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Characters that show nothing although Unicode calls them letters, marks or symbols; with the variation selectors."""


def visible(text: str) -> str:
    r"""Control, line-breaking, bidirectional and invisible characters as `\u202e`, all others as they are.

    So a text can't reverse, break, empty or colour the line that it is shown in.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) if _is_invisible(character) else character for character in text)


def _is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) in _HIDDEN
        or character in _BLANK_LETTERS
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"
