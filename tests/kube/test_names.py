from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.kube import names

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
KEY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize(
    ("rule", "value", "messages"),
    [
        (names.dns1123_label, "trainer-0", []),
        (names.dns1123_label, "Trainer", [LABEL]),
        (names.dns1123_label, "", [LABEL]),
        (names.dns1123_label, "a.b", ["must not contain dots"]),
        (names.dns1123_label, "a" * 64, ["must be no more than 63 characters"]),
        (names.dns1123_label, "a\n", [LABEL]),
        (names.dns1123_subdomain, "a.b-c.d", []),
        (names.dns1123_subdomain, "a" * 254, ["must be no more than 253 characters"]),
        (names.dns1035_label, "abc-123", []),
        (names.path_segment, "system:node", []),
        (names.path_segment, "..", ["may not be '..'"]),
        (names.path_segment, "a/b", ["may not contain '/'"]),
        (names.qualified_name, "example.com/my.Name", []),
        (names.qualified_name, "-x", [KEY]),
        (names.qualified_name, "/x", ["prefix part must be non-empty"]),
        (names.qualified_name, "a" * 64, ["name part must be no more than 63 bytes"]),
        (names.label_value, "", []),
        (names.label_value, "My_value.1", []),
        (names.config_key, "trainer.py", []),
        (names.config_key, "..", ["must not be '..'"]),
        (names.config_key, "..data", ["must not start with '..'"]),
        (names.env_name, "TF_CONFIG", []),
        (names.env_name, "1.a b", []),
        (names.env_name, "", ["environment variable name must be non-empty"]),
        (
            names.env_name,
            "A=B",
            ["a valid environment variable name must consist only of printable ASCII characters other than '='"],
        ),
        (names.port_name, "tfjob-port", []),
        (names.port_name, "80", ["must contain at least one letter (a-z)"]),
        (names.port_name, "a--b", ["must not contain consecutive hyphens"]),
        (names.port_name, "x-", ["must not begin or end with a hyphen"]),
        (names.port_number, 0, ["must be between 1 and 65535, inclusive"]),
        (names.port_number, 65535, []),
    ],
)
def test_rules_speak_as_kubernetes_does(rule, value, messages):
    assert rule(value) == messages


def test_service_names_start_with_a_letter():
    (message,) = names.dns1035_label("1abc")
    assert message.startswith("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with")
    assert message.endswith(
        "(e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
    )


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True))
def test_a_label_is_a_subdomain_and_a_label_value(value):
    assert names.dns1123_label(value) == []
    assert names.dns1123_subdomain(value) == []
    assert names.label_value(value) == []


@given(st.text())
def test_rules_take_any_text(value):
    for rule in (
        names.dns1123_label,
        names.dns1123_subdomain,
        names.dns1035_label,
        names.path_segment,
        names.qualified_name,
        names.label_value,
        names.config_key,
        names.env_name,
        names.http_header_name,
        names.port_name,
    ):
        assert all(isinstance(message, str) and message for message in rule(value))
