"""Small rules that the validation of several built-in kinds shares.

All of them look at objects that their schemas find valid: types and required fields are settled.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from homeport.kube import field, names
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

NOT_NEGATIVE = "must be greater than or equal to 0"
_DOMAIN_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


def checked(path: str, value: str, rule: names.Rule) -> Iterable[FieldError]:
    # No generator: this runs for every name in every object, and hardly ever has anything to say.
    messages = _messages(rule, value) if len(value) <= names.SUBDOMAIN_LIMIT else rule(value)
    return [field.invalid(path, value, message) for message in messages] if messages else ()


@lru_cache(maxsize=4096)
def _messages(rule: names.Rule, value: str) -> tuple[str, ...]:
    """The same few names and keys come with nearly every object."""
    return tuple(rule(value))


def follows(value: str, rule: names.Rule) -> bool:
    """Whether there is nothing to say of `value`. For places that come with every object: nobody has to write down a
    path then."""
    return not (_messages(rule, value) if len(value) <= names.SUBDOMAIN_LIMIT else rule(value))


Rules = Callable[[Any, str], Iterable[FieldError]]

_REMEMBERED = 1024
"""Values that were found to be right, of at most so many bytes each, in about as many pieces."""
_right: dict[tuple[Rules, bytes], None] = {}
_encode = msgspec.json.Encoder().encode


def remembered(judge: Rules, value: Any, path: str) -> Iterable[FieldError]:
    """What `judge` says of a value of JSON that comes again and again: tolerations, resources, a projected volume. The
    objects of one job differ in less than they have in common, and who was right before is right again."""
    key = judge, _encode(value)
    if key in _right:
        return ()
    errors = tuple(judge(value, path))
    if not errors and len(key[1]) <= _REMEMBERED:
        if len(_right) >= _REMEMBERED:
            _right.clear()
        _right[key] = None
    return errors


def needed(path: str, value: Any, rule: names.Rule | None = None) -> Iterator[FieldError]:
    """`value` must be there, and follow the rule."""
    if not value:
        yield field.required(path)
    elif rule is not None:
        yield from checked(path, value, rule)


def domain_path(path: str, value: str) -> Iterator[FieldError]:
    """``example.com/name`` (upstream: ``IsDomainPrefixedPath``)."""
    if not value:
        yield field.required(path)
        return
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        yield field.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    yield from checked(path, domain, names.dns1123_subdomain)
    if not _DOMAIN_PATH.fullmatch(rest):
        yield field.invalid(path, rest, "Invalid path")


def labels(path: str, found: Object | None) -> Iterator[FieldError]:
    for key, value in (found or {}).items():
        yield from checked(path, key, names.qualified_name)
        yield from checked(path, value, names.label_value)


def label_selector(path: str, selector: Object | None) -> Iterator[FieldError]:
    """Upstream: apimachinery's ``ValidateLabelSelector``."""
    if not selector:
        return
    yield from labels(f"{path}.matchLabels", selector.get("matchLabels"))
    for index, requirement in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        operator, values = requirement.get("operator"), requirement.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                yield field.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield field.forbidden(f"{at}.values", words)
        else:
            yield field.invalid(f"{at}.operator", operator, "not a valid selector operator")
        yield from checked(f"{at}.key", requirement.get("key", ""), names.qualified_name)
        for place, value in enumerate(values):
            yield from checked(f"{at}.values[{place}]", value, names.label_value)


def not_negative(path: str, value: int | None) -> Iterator[FieldError]:
    if value is not None and value < 0:
        yield field.invalid(path, value, NOT_NEGATIVE)


def in_range(path: str, value: int | None, low: int, high: int) -> Iterator[FieldError]:
    if value is not None and not low <= value <= high:
        yield field.invalid(path, value, names.in_range(low, high))


def port(path: str, value: int | str) -> Iterator[FieldError]:
    """A port by number or name."""
    messages = names.port_name(value) if isinstance(value, str) else names.port_number(value)
    for message in messages:
        yield field.invalid(path, value, message)


def ip_address(path: str, value: str) -> Iterator[FieldError]:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        yield field.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def distinct(path: str, items: Iterable[Object], name: str = "name") -> Iterator[FieldError]:
    """No two of the `items` have the same value of the field `name`."""
    seen = set()
    for index, item in enumerate(items):
        value = item.get(name)
        if value in seen:
            yield field.duplicate(f"{path}[{index}].{name}", value)
        elif value:
            seen.add(value)
