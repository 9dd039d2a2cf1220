"""The flags that are kube-apiserver's."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from homeport.cli import serving
from homeport.kube.errors import Permanent
from homeport.settings import (
    AccountSettings,
    ApiSettings,
    AuditSettings,
    NodeSettings,
    OidcSettings,
    RequestHeaderSettings,
)


def parse(*flags: str) -> ApiSettings:
    parser = argparse.ArgumentParser()
    serving.add_arguments(parser)
    return serving.settings_of(parser.parse_args(flags))


@pytest.mark.parametrize(
    "settings",
    [
        ApiSettings(),
        ApiSettings(AccountSettings("https://me.example", ("a", "b"), 86400, False)),
        ApiSettings(AccountSettings(signing_key_file=Path("/key"), key_files=(Path("/a"), Path("/b")))),
        ApiSettings(audit=AuditSettings("-")),
        ApiSettings(node=NodeSettings({"memory.available": "1Gi", "nodefs.available": "5%"}, 4096)),
        ApiSettings(node=NodeSettings(log_bytes=1 << 20, log_files=2)),
        ApiSettings(admission_file=Path("/admission.yaml")),
        ApiSettings(authentication_config=Path("/authentication.yaml")),
        ApiSettings(request_header=RequestHeaderSettings(Path("/ca")), event_ttl=90),
        ApiSettings(request_header=RequestHeaderSettings(Path("/ca"), ("a", "b"), ("u",), (), ("g", "h"), ("x-",))),
        ApiSettings(audit=AuditSettings("/log", Path("/policy"), 3, 4, 5)),
        ApiSettings(oidc=OidcSettings("https://login.example", "id")),
        ApiSettings(
            oidc=OidcSettings(
                "https://login.example", "id", "email", "-", "groups", "oidc:", {"hd": "a=b", "x": ""}, Path("/ca"),
                ("RS256", "ES256"),
            )
        ),
    ],
)  # fmt: skip
def test_a_platform_in_the_background_is_told_the_same(settings: ApiSettings) -> None:
    assert parse(*serving.arguments(settings)) == settings


def test_durations() -> None:
    assert parse("--service-account-max-token-expiration=1h30m").accounts.longest == 5400


@pytest.mark.parametrize(
    "flags",
    [
        ("--service-account-max-token-expiration", "5m"),
        ("--service-account-max-token-expiration", "soon"),
        ("--audit-log-maxsize", "-1"),
        ("--oidc-required-claim", "hd"),
        ("--container-log-max-size", "much"),
        ("--container-log-max-size", "0"),
        ("--container-log-max-files", "1"),
        ("--eviction-hard", "memory.available"),
        ("--eviction-hard", "memory.free<5Mi"),
        ("--eviction-hard", "nodefs.available<120%"),
        ("--eviction-hard", "nodefs.available<much"),
    ],
)
def test_values_that_are_none(flags: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        parse(*flags)


@pytest.mark.parametrize(
    ("flag", "words"),
    [("--audit-policy-file=/p", "--audit-log-path"), ("--oidc-client-id=id", "--oidc-issuer-url")],
)
def test_flags_that_need_another(flag: str, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        parse(flag)
