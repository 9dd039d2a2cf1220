"""The keywords that bound one value: ``enum``, ``maximum``, ``pattern``, ``format`` and the like.

Each keyword of a schema becomes a function, once. The words are those of the Kubernetes API server (kube-openapi's
validation of custom resources).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from homeport.kube import field, regex
from homeport.kube.errors import FieldError
from homeport.kube.schema import JsonSchema

Path: TypeAlias = "tuple[Any, Any] | None"
"""A linked path, (parent, field name or index); None is the root. Made to text only where there is an error."""

Check: TypeAlias = "Callable[[Any, Path, list[tuple[Path, FieldError]]], None]"
"""Looks at a value at a path and appends what is wrong with it."""

Found: TypeAlias = "list[tuple[Path, FieldError]]"


class MapKey(str):
    """A step of a path that is written in brackets: the key of a map."""

    __slots__ = ()


def path_text(path: Path) -> str:
    """``spec.containers[0].name``."""
    parts: list[str] = []
    while path is not None:
        path, key = path
        parts.append(f"[{key}]" if isinstance(key, (int, MapKey)) else f".{key}")
    return "".join(reversed(parts)).removeprefix(".")


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def checks_of(schema: JsonSchema) -> tuple[Check, ...]:
    """The checks that the keywords of `schema` ask for; those of the parts below it are not among them."""
    return tuple(make(schema) for keyword, make in _MAKERS.items() if schema.get(keyword) is not None)


def _invalid(path: Path, value: Any, words: str) -> tuple[Path, FieldError]:
    text = path_text(path)
    return path, field.invalid(text, value, f"{text} in body {words}")


def _enum(schema: JsonSchema) -> Check:
    allowed = schema["enum"]
    strings = frozenset(item for item in allowed if isinstance(item, str))

    def check(value: Any, path: Path, found: Found) -> None:
        if isinstance(value, str):
            known = value in strings
        else:
            known = any(item == value and isinstance(item, bool) == isinstance(value, bool) for item in allowed)
        if not known:
            found.append((path, field.not_supported(path_text(path), value, allowed)))

    return check


def _maximum(schema: JsonSchema) -> Check:
    limit, exclusive = schema["maximum"], schema.get("exclusiveMaximum")
    words = f"should be less than {limit}" if exclusive else f"should be less than or equal to {limit}"

    def check(value: Any, path: Path, found: Found) -> None:
        if is_number(value) and (value >= limit if exclusive else value > limit):
            found.append(_invalid(path, value, words))

    return check


def _minimum(schema: JsonSchema) -> Check:
    limit, exclusive = schema["minimum"], schema.get("exclusiveMinimum")
    words = f"should be greater than {limit}" if exclusive else f"should be greater than or equal to {limit}"

    def check(value: Any, path: Path, found: Found) -> None:
        if is_number(value) and (value <= limit if exclusive else value < limit):
            found.append(_invalid(path, value, words))

    return check


def _multiple_of(schema: JsonSchema) -> Check:
    factor = schema["multipleOf"]

    def check(value: Any, path: Path, found: Found) -> None:
        if is_number(value) and factor > 0:
            times = value / factor
            if times not in (float("inf"), float("-inf")) and abs(times - round(times)) > 1e-9:
                found.append(_invalid(path, value, f"should be a multiple of {factor}"))

    return check


def _max_length(schema: JsonSchema) -> Check:
    limit = schema["maxLength"]

    def check(value: Any, path: Path, found: Found) -> None:
        if isinstance(value, str) and len(value) > limit:
            found.append((path, field.too_long(path_text(path), limit)))

    return check


def _min_length(schema: JsonSchema) -> Check:
    limit = schema["minLength"]

    def check(value: Any, path: Path, found: Found) -> None:
        if isinstance(value, str) and len(value) < limit:
            found.append(_invalid(path, value, f"should be at least {limit} chars long"))

    return check


def _pattern(schema: JsonSchema) -> Check:
    text = schema["pattern"]
    pattern = regex.compile(text) if text else None

    def check(value: Any, path: Path, found: Found) -> None:
        if pattern is not None and isinstance(value, str) and not pattern.search(value):
            found.append(_invalid(path, value, f"should match '{text}'"))

    return check


def _max_items(schema: JsonSchema) -> Check:
    limit = schema["maxItems"]

    def check(value: Any, path: Path, found: Found) -> None:
        if isinstance(value, list) and len(value) > limit:
            found.append((path, field.too_many(path_text(path), len(value), limit)))

    return check


def _min_items(schema: JsonSchema) -> Check:
    limit = schema["minItems"]

    def check(value: Any, path: Path, found: Found) -> None:
        if isinstance(value, list) and len(value) < limit:
            found.append(_invalid(path, len(value), f"should have at least {limit} items"))

    return check


def _unique_items(schema: JsonSchema) -> Check:
    def check(value: Any, path: Path, found: Found) -> None:
        if (
            schema["uniqueItems"]
            and isinstance(value, list)
            and len({field.quote(item) for item in value}) < len(value)
        ):
            found.append(_invalid(path, "", "shouldn't contain duplicates"))

    return check


def _max_properties(schema: JsonSchema) -> Check:
    limit = schema["maxProperties"]

    def check(value: Any, path: Path, found: Found) -> None:
        if isinstance(value, dict) and len(value) > limit:
            found.append((path, field.too_many(path_text(path), len(value), limit)))

    return check


def _min_properties(schema: JsonSchema) -> Check:
    limit = schema["minProperties"]

    def check(value: Any, path: Path, found: Found) -> None:
        if isinstance(value, dict) and len(value) < limit:
            found.append(_invalid(path, len(value), f"should have at least {limit} properties"))

    return check


_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def _format(schema: JsonSchema) -> Check:
    name = schema["format"]
    if schema.get("type") == "integer" and name in _INTEGERS:
        low, high = _INTEGERS[name]

        def check_integer(value: Any, path: Path, found: Found) -> None:
            if is_number(value) and not low <= value <= high:
                found.append(_invalid(path, value, f"should be in the range of an {name}, {low} to {high}"))

        return check_integer
    is_valid = FORMATS.get(name)

    def check(value: Any, path: Path, found: Found) -> None:
        if is_valid is not None and isinstance(value, str) and not is_valid(value):
            text = path_text(path)
            # What should be base64 is often a secret that somebody forgot to encode: no message repeats it.
            shown = "<value omitted>" if name in _SENSITIVE else value
            words = f"{text} in body must be of type {name}: {field.quote(shown)}"
            found.append((path, field.type_invalid(text, shown, words)))

    return check


_MAKERS: dict[str, Callable[[JsonSchema], Check]] = {
    "enum": _enum,
    "minimum": _minimum,
    "maximum": _maximum,
    "multipleOf": _multiple_of,
    "minLength": _min_length,
    "maxLength": _max_length,
    "pattern": _pattern,
    "minItems": _min_items,
    "maxItems": _max_items,
    "uniqueItems": _unique_items,
    "minProperties": _min_properties,
    "maxProperties": _max_properties,
    "format": _format,
}

KEYWORDS = tuple(_MAKERS)
"""The keywords that there are checks for."""

_SENSITIVE = frozenset({"byte", "password"})


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


_LONGEST_MOMENT = 40
"""Characters of those that are remembered: with nine decimals and a zone."""


def is_date_time(text: str) -> bool:
    """Whether `text` is a moment in RFC 3339."""
    return _is_moment(text) if len(text) <= _LONGEST_MOMENT else _is_moment.__wrapped__(text)


@lru_cache(maxsize=1024)
def _is_moment(text: str) -> bool:
    """Most of what comes within a second has the same one in it."""
    if _DATE_TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text[:19])
    except ValueError:
        return False
    return True


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False


_DURATION = re.compile(r"[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)|\d+ ?[a-z]+")


def _ip(version: int | None, network: bool = False) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            if network:
                return "/" in text and bool(ipaddress.ip_interface(text))
            return version in (None, ipaddress.ip_address(text).version)
        except ValueError:
            return False

    return check


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_HOST_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _uuid(version: str) -> Callable[[str], bool]:
    middle = f"-?{version}[0-9a-f]{{3}}-?" if version else "-?[0-9a-f]{4}-?"
    return _matches(rf"(?i)[0-9a-f]{{8}}-?[0-9a-f]{{4}}{middle}[0-9a-f]{{4}}-?[0-9a-f]{{12}}")


FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _is_base64,
    "date": _is_date,
    "date-time": is_date_time,
    "datetime": is_date_time,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "ipv4": _ip(4),
    "ipv6": _ip(6),
    "cidr": _ip(None, network=True),
    "mac": _matches(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5,7}|[0-9a-f]{4}(\.[0-9a-f]{4}){2}"),
    "hostname": _matches(rf"(?=.{{1,255}}$){_HOST_LABEL}(\.{_HOST_LABEL})*"),
    "email": _matches(r"[^@\s]+@[^@\s]+"),
    "uri": _matches(r"[A-Za-z][-A-Za-z0-9+.]*:\S*|/\S*"),
    "uuid": _uuid(""),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
    "hexcolor": _matches(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "json": _is_json,
    "k8s-short-name": _matches(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?"),
    "k8s-long-name": _matches(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"),
}
"""Formats of strings that are checked; Kubernetes ignores one that it does not know, and so do we."""
