"""``format.dns1123Label().validate(name)`` (Kubernetes 1.31)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from homeport.kube import names
from homeport.kube.cel.functions import Library
from homeport.kube.cel.library.urls import parse_error
from homeport.kube.cel.values import NONE, Opaque, Optional
from homeport.kube.schema.checks import FORMATS

_NAME = "kubernetes.NamedFormat"


class Format(Opaque):
    """A rule for strings."""

    __slots__ = ("check", "name")
    type_name = _NAME

    def __init__(self, name: str, check: Callable[[str], list[str]]) -> None:
        self.name = name
        self.check = check

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


def _prefix(rule: names.Rule) -> Callable[[str], list[str]]:
    """A rule for the beginning of a name: a dash at its end does not matter, since something will follow."""
    return lambda text: rule(text[:-1] + "a" if text.endswith("-") else text)


def _known(name: str, words: str) -> Callable[[str], list[str]]:
    return lambda text: [] if FORMATS[name](text) else [words]


def _uri(text: str) -> list[str]:
    wrong = parse_error(text)
    return [] if wrong is None else [wrong]


_CHECKS: Mapping[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.dns1123_label,
    "dns1123Subdomain": names.dns1123_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": _prefix(names.dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns1035_label),
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _known("uuid", "does not match the UUID format"),
    "byte": _known("byte", "invalid base64"),
    "date": _known("date", "invalid date"),
    "datetime": _known("datetime", "invalid datetime"),
}

LIBRARY = Library()
_FORMATS = {name: Format(name, check) for name, check in _CHECKS.items()}


def _declare(name: str) -> None:
    @LIBRARY.function(f"format.{name}(): {_NAME}")
    def get() -> Format:
        return _FORMATS[name]


for _name in _CHECKS:
    _declare(_name)


@LIBRARY.function(f"format.named(string): optional<{_NAME}>")
def _named(name: str) -> Optional:
    return Optional(_FORMATS[name]) if name in _FORMATS else NONE


@LIBRARY.member(f"validate({_NAME}, string): optional<list<string>>", cost=lambda rule, text: len(text) // 2)
def _validate(rule: Format, text: str) -> Optional:
    wrong = rule.check(text)
    return Optional(list(wrong)) if wrong else NONE
