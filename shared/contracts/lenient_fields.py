"""Fields of what clients send, read with patience: what can't be misunderstood is read, whatever its type. No I/O.

Go writes an empty list as null and a text that nobody set as "", PHP an empty object as a list, JavaScript and SQLite
know numbers and no integers or booleans. What can be read in two ways is left to the strict types, which refuse it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def whole_number(value: Any) -> Any:
    """`25.0` and `"25"` as 25; all else as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def _unset_as(instead: object, *unset: object) -> BeforeValidator:
    """What nobody set."""
    return BeforeValidator(lambda value: instead if any(value == each for each in (None, *unset)) else value)


def _false_unless_read(value: Any, read: ValidatorFunctionWrapHandler) -> bool:
    try:
        return bool(read(value))
    except ValidationError:
        return False


WholeNumber: Final = BeforeValidator(whole_number)
EmptyIfNull: Final = _unset_as("")
NullIfEmptyText: Final = _unset_as(None, "")
NullIfEmptyList: Final = _unset_as(None, [])
Flag = Annotated[bool, Field(strict=False), _unset_as(False)]
"""Also 0 and 1, and words as "false" and "no"."""
FlagOrFalse = Annotated[Flag, WrapValidator(_false_unless_read)]
"""For what is information only: what can't be read is false."""
