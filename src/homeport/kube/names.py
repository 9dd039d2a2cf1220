"""Syntax rules for names, keys and values, in Kubernetes' own words.

Each rule takes a text and gives the messages for what is wrong with it, none if it is valid
(``k8s.io/apimachinery/pkg/util/validation``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

Rule: TypeAlias = Callable[[str], list[str]]

LABEL_LIMIT: Final = 63
"""Characters of a DNS label, and bytes of a label's value or the name part of its key."""
SUBDOMAIN_LIMIT: Final = 253
ANNOTATIONS_LIMIT: Final = 256 << 10
"""Bytes of an object's annotations, keys and values together."""
SAFE_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""For generated names: no vowels, and nothing that looks like another (upstream: ``apimachinery/pkg/util/rand``)."""

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = f"({_KEY})?"
_CONFIG_KEY: Final = "[-._a-zA-Z0-9]+"
_HEADER: Final = "[-A-Za-z0-9]+"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


_LABEL_RE = _compiled(_LABEL)
_SUBDOMAIN_RE = _compiled(_SUBDOMAIN)
_LABEL_1035_RE = _compiled(_LABEL_1035)
_KEY_RE = _compiled(_KEY)
_VALUE_RE = _compiled(_VALUE)
_SHORT_KEY_RE = _compiled("[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""A label key without a prefix, which most are; its limit is that of ``LABEL_LIMIT``."""
_ENV_NAME_RE = _compiled("[ -<>-~]*")
_CONFIG_KEY_RE = _compiled(_CONFIG_KEY)
_HEADER_RE = _compiled(_HEADER)
_PORT_NAME_RE = _compiled("[-a-z0-9]+")


def too_many_characters(limit: int) -> str:
    return f"must be no more than {limit} characters"


def too_many_bytes(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def in_range(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def _mismatch(words: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{words} (e.g. {shown}regex used for validation is '{pattern}')"


def dns1123_label(value: str) -> list[str]:
    """A DNS label: names of namespaces, containers and volumes."""
    errors = [too_many_characters(LABEL_LIMIT)] if len(value) > LABEL_LIMIT else []
    if _LABEL_RE.fullmatch(value) is None:
        if _SUBDOMAIN_RE.fullmatch(value) is not None:
            errors.append("must not contain dots")
        else:
            words = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
                "and end with an alphanumeric character"
            )
            errors.append(_mismatch(words, _LABEL, "my-name", "123-abc"))
    return errors


def dns1123_subdomain(value: str) -> list[str]:
    """DNS labels with dots between: names of most objects."""
    errors = [too_many_characters(SUBDOMAIN_LIMIT)] if len(value) > SUBDOMAIN_LIMIT else []
    if _SUBDOMAIN_RE.fullmatch(value) is None:
        words = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character"
        )
        errors.append(_mismatch(words, _SUBDOMAIN, "example.com"))
    return errors


def wildcard_subdomain(value: str) -> list[str]:
    """A subdomain whose first label is ``*``: hosts of ingresses."""
    errors = [too_many_characters(SUBDOMAIN_LIMIT)] if len(value) > SUBDOMAIN_LIMIT else []
    if not value.startswith("*.") or _SUBDOMAIN_RE.fullmatch(value[2:]) is None:
        words = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
            "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        errors.append(_mismatch(words, r"\*\." + _SUBDOMAIN, "*.example.com"))
    return errors


def dns1035_label(value: str) -> list[str]:
    """A DNS label that starts with a letter: names of services."""
    errors = [too_many_characters(LABEL_LIMIT)] if len(value) > LABEL_LIMIT else []
    if _LABEL_1035_RE.fullmatch(value) is None:
        words = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character"
        )
        errors.append(_mismatch(words, _LABEL_1035, "my-name", "abc-123"))
    return errors


def path_segment(value: str) -> list[str]:
    """What can be a part of a URL path: names of roles and bindings."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in value]


def qualified_name(value: str) -> list[str]:
    """A label key: a name with an optional DNS subdomain and a slash before it."""
    if _SHORT_KEY_RE.fullmatch(value) is not None:
        return []
    parts = value.split("/")
    words = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
        "character"
    )
    mismatch = _mismatch(words, _KEY, "MyName", "my.name", "123-abc")
    errors: list[str] = []
    if len(parts) > 2:
        return [
            f"a valid label key {mismatch} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if len(parts) == 2:
        if not parts[0]:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {message}" for message in dns1123_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > LABEL_LIMIT:
        errors.append(f"name part {too_many_bytes(LABEL_LIMIT)}")
    if _KEY_RE.fullmatch(name) is None:
        errors.append(f"name part {mismatch}")
    return errors


def label_value(value: str) -> list[str]:
    errors = [too_many_bytes(LABEL_LIMIT)] if len(value) > LABEL_LIMIT else []
    if _VALUE_RE.fullmatch(value) is None:
        words = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character"
        )
        errors.append(_mismatch(words, _VALUE, "MyValue", "my_value", "12345"))
    return errors


def config_key(value: str) -> list[str]:
    """The name of an entry of a config map or secret; it can become a file name."""
    errors = [too_many_characters(SUBDOMAIN_LIMIT)] if len(value) > SUBDOMAIN_LIMIT else []
    if _CONFIG_KEY_RE.fullmatch(value) is None:
        words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(_mismatch(words, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def env_name(value: str) -> list[str]:
    """The name of an environment variable: any printable ASCII but the equals sign (Kubernetes 1.32 and later)."""
    if not value:
        return ["environment variable name must be non-empty"]
    if _ENV_NAME_RE.fullmatch(value) is None:
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


def http_header_name(value: str) -> list[str]:
    if _HEADER_RE.fullmatch(value) is None:
        return [
            _mismatch("a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name")
        ]
    return []


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [in_range(1, 65535)]


def port_name(value: str) -> list[str]:
    """A service name as IANA allows them (RFC 6335), in lower case."""
    errors = [too_many_characters(15)] if len(value) > 15 else []
    if _PORT_NAME_RE.fullmatch(value) is None:
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if re.search("[a-z]", value) is None:
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors
