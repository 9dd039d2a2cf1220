"""``'%s is %d'.format([x, 3])``. Upstream: ``ext/formatting.go`` of cel-go."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from homeport.kube.cel.library import temporal
from homeport.kube.cel.values import (
    Duration,
    EvaluationError,
    Timestamp,
    TypeValue,
    UInt,
    format_double,
    from_key,
    type_name,
)

_CLAUSE = re.compile(r"%(?:\.([0-9]{1,3}))?(.?)", re.DOTALL)
_MAX_LENGTH = 1 << 20
"""Characters of a result."""
_STRING_WORDS = (
    "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
    "timestamps"
)


def format_string(text: str, args: Sequence[Any]) -> str:
    """Raises EvaluationError."""
    index = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal index
        precision, clause = match.groups()
        if clause == "%" and precision is None:
            return "%"
        if not clause:
            raise EvaluationError("could not parse formatting clause: unexpected end of string")
        if clause not in _CLAUSES:
            raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{clause}"')
        if index >= len(args):
            raise EvaluationError(f"index {index} out of range")
        value = args[index]
        index += 1
        made = _CLAUSES[clause](value, None if precision is None else int(precision))
        if len(made) > _MAX_LENGTH:
            raise EvaluationError("the formatted string is too long")
        return made

    return _CLAUSE.sub(replace, text)  # arguments that are left over do not matter


def _error(words: str, value: Any) -> EvaluationError:
    return EvaluationError(f"error during formatting: {words}, was given {type_name(value)}")


def _string(value: Any, precision: int | None = None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        special = _special(value)
        return format_double(value) if special is None else special
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return f"[{', '.join(_string(item) for item in value)}]"
    if isinstance(value, dict):
        entries = sorted((_string(from_key(key)), _string(value[key])) for key in value)
        return f"{{{', '.join(f'{key}: {item}' for key, item in entries)}}}"
    if isinstance(value, Timestamp):
        return temporal.format_timestamp(value)
    if isinstance(value, Duration):
        return temporal.format_duration(value)
    if isinstance(value, TypeValue):
        return value.name
    raise _error(_STRING_WORDS, value)


def _special(value: float) -> str | None:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return None


def _is_integer(value: Any) -> bool:
    return type(value) is int or type(value) is UInt


def _decimal(value: Any, precision: int | None) -> str:
    if _is_integer(value):
        return str(int(value))
    if isinstance(value, float):
        special = _special(value)
        if special is not None:
            return special
    raise _error("decimal clause can only be used on integers", value)


def _number(value: Any, words: str) -> float:
    if isinstance(value, float) or _is_integer(value):
        return float(value)
    raise _error(words, value)


def _fixed(value: Any, precision: int | None) -> str:
    number = _number(value, "fixed-point clause can only be used on doubles")
    return _special(number) or f"{number:.{6 if precision is None else precision}f}"


def _scientific(value: Any, precision: int | None) -> str:
    number = _number(value, "scientific clause can only be used on doubles")
    return _special(number) or f"{number:.{6 if precision is None else precision}e}"


def _binary(value: Any, precision: int | None) -> str:
    if _is_integer(value) or isinstance(value, bool):
        return f"{int(value):b}"
    raise _error("only integers and bools can be formatted as binary", value)


def _octal(value: Any, precision: int | None) -> str:
    if _is_integer(value):
        return f"{int(value):o}"
    raise _error("octal clause can only be used on integers", value)


def _hex(value: Any, precision: int | None) -> str:
    if _is_integer(value):
        return f"{int(value):x}"
    if isinstance(value, str):
        return value.encode().hex()
    if isinstance(value, bytes):
        return value.hex()
    raise _error("only integers, byte buffers, and strings can be formatted as hex", value)


_CLAUSES: dict[str, Callable[[Any, int | None], str]] = {
    "s": _string,
    "d": _decimal,
    "f": _fixed,
    "e": _scientific,
    "b": _binary,
    "o": _octal,
    "x": _hex,
    "X": lambda value, precision: _hex(value, precision).upper(),
}
