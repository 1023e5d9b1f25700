"""The numbers of a spec: what may be written for one, and the ranges that keys share."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError


def _read_number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def number(value: Any) -> int | float:
    """Numeric strings (YAML 1.1 reads ``3e-4`` as one) become numbers; bool is never a number."""
    if isinstance(value, str):
        value = _read_number(value)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
    except OverflowError:
        pass
    raise PydanticCustomError("number", "expected a finite number")


def integer(value: Any) -> int:
    """The same for a whole number, of which 1e3 is one."""
    found = number(value)
    if found != int(found):
        raise PydanticCustomError("number", "expected a whole number")
    return int(found)


def switch(value: Any) -> Any:
    """What is on, off or up to the lab; a number, which pydantic would read as a bool, is neither."""
    found = keyword(value)
    if isinstance(found, int | float) and not isinstance(found, bool):
        raise PydanticCustomError("switch", "expected true or false")
    return value


def keyword(value: Any) -> Any:
    """A keyword argument of a torch class, whose type is not known here: numeric strings become
    numbers, all else stays."""
    found = _read_number(value) if isinstance(value, str) else None
    return value if found is None or not math.isfinite(found) else found


MOST = 10**15
"""No count of anything may exceed this; it also keeps frames exact as floats."""

Float = Annotated[float, BeforeValidator(number)]
Int = Annotated[int, BeforeValidator(integer)]
Positive = Annotated[Float, Field(gt=0)]
NonNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
Count = Annotated[Int, Field(ge=1, le=MOST)]
Frame = Annotated[Int, Field(ge=0, le=MOST)]
