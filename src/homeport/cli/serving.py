"""The flags of ``homeport up`` that are kube-apiserver's: audit log, OpenID Connect, service accounts."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from homeport.kube.errors import Permanent
from homeport.settings import AccountSettings, ApiSettings, AuditSettings, OidcSettings

_SHORTEST, _LONGEST = 3600, 1 << 32
"""Seconds; upstream's limits for ``--service-account-max-token-expiration``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    audit = parser.add_argument_group("audit log")
    audit.add_argument(
        "--audit-log-path", metavar="FILE", help="record requests in this file; - is the standard output"
    )
    audit.add_argument(
        "--audit-policy-file", type=Path, metavar="FILE", help="an audit.k8s.io/v1 Policy: what is recorded"
    )
    audit.add_argument(
        "--audit-log-maxage", type=_whole, default=0, metavar="DAYS", help="keep old files for this long"
    )
    audit.add_argument("--audit-log-maxbackup", type=_whole, default=0, metavar="N", help="keep this many old files")
    audit.add_argument(
        "--audit-log-maxsize",
        type=_whole,
        default=100,
        metavar="MB",
        help="begin a new file at this size (default: 100)",
    )
    oidc = parser.add_argument_group("OpenID Connect")
    oidc.add_argument("--oidc-issuer-url", metavar="URL", help="believe the ID tokens of this provider")
    oidc.add_argument("--oidc-client-id", metavar="ID", help="the client that the tokens have to be for")
    oidc.add_argument("--oidc-username-claim", default="sub", metavar="CLAIM", help="the user's name (default: sub)")
    oidc.add_argument(
        "--oidc-username-prefix", metavar="TEXT", help="before every name; - for none (default: the issuer and #)"
    )
    oidc.add_argument("--oidc-groups-claim", default="", metavar="CLAIM", help="the user's groups")
    oidc.add_argument("--oidc-groups-prefix", default="", metavar="TEXT", help="before every group")
    oidc.add_argument(
        "--oidc-required-claim", action="append", default=[], type=_pair, metavar="KEY=VALUE",
        help="a claim that tokens must have; may be given several times",
    )  # fmt: skip
    oidc.add_argument("--oidc-ca-file", type=Path, metavar="FILE", help="whom to trust about the provider")
    oidc.add_argument(
        "--oidc-signing-algs", default="RS256", metavar="LIST", help="signatures to accept (default: RS256)"
    )
    accounts = parser.add_argument_group("service accounts")
    accounts.add_argument(
        "--service-account-issuer", metavar="URL", help="who issues tokens (default: the API server's name in pods)"
    )
    accounts.add_argument(
        "--api-audiences", default="", metavar="LIST", help="whom tokens have to be for (default: the issuer)"
    )
    accounts.add_argument(
        "--service-account-max-token-expiration", type=_duration, default=0, metavar="TIME",
        help="how long tokens hold at most, such as 24h (default: as long as is asked for)",
    )  # fmt: skip
    accounts.add_argument(
        "--service-account-extend-token-expiration", type=_switch, default=True, metavar="true|false",
        help="let the tokens in pods hold for a year, for programs that read them once (default: true)",
    )  # fmt: skip


def settings_of(args: argparse.Namespace) -> ApiSettings:
    """Raises Permanent for flags that do not fit together."""
    if args.audit_policy_file is not None and args.audit_log_path is None:
        raise Permanent("--audit-policy-file needs --audit-log-path: without it nothing is recorded")
    audit = None
    if args.audit_log_path is not None:
        path = args.audit_log_path if args.audit_log_path == "-" else str(Path(args.audit_log_path).absolute())
        policy = args.audit_policy_file.absolute() if args.audit_policy_file is not None else None
        size = args.audit_log_maxsize or 100
        audit = AuditSettings(path, policy, args.audit_log_maxage, args.audit_log_maxbackup, size)
    if (args.oidc_issuer_url is None) != (args.oidc_client_id is None):
        raise Permanent("--oidc-issuer-url and --oidc-client-id should be specified together")
    oidc = None
    if args.oidc_issuer_url is not None:
        oidc = OidcSettings(
            args.oidc_issuer_url,
            args.oidc_client_id,
            args.oidc_username_claim,
            args.oidc_username_prefix,
            args.oidc_groups_claim,
            args.oidc_groups_prefix,
            dict(args.oidc_required_claim),
            args.oidc_ca_file.absolute() if args.oidc_ca_file is not None else None,
            _list(args.oidc_signing_algs),
        )
    issuer = args.service_account_issuer or AccountSettings().issuer
    accounts = AccountSettings(
        issuer,
        _list(args.api_audiences),
        args.service_account_max_token_expiration,
        args.service_account_extend_token_expiration,
    )
    return ApiSettings(accounts, audit, oidc)


def arguments(settings: ApiSettings) -> list[str]:
    """The flags that say the same, for a platform in the background."""
    return [f"{flag}={value}" for flag, value in _flags(settings)]


def _flags(settings: ApiSettings) -> Iterator[tuple[str, object]]:
    accounts = settings.accounts
    if accounts != AccountSettings():
        yield "--service-account-issuer", accounts.issuer
        yield "--api-audiences", ",".join(accounts.audiences)
        yield "--service-account-max-token-expiration", f"{accounts.longest}s"
        yield "--service-account-extend-token-expiration", str(accounts.extend).lower()
    if (audit := settings.audit) is not None:
        yield "--audit-log-path", audit.log_path
        if audit.policy_file is not None:
            yield "--audit-policy-file", audit.policy_file
        yield "--audit-log-maxage", audit.max_age
        yield "--audit-log-maxbackup", audit.max_backup
        yield "--audit-log-maxsize", audit.max_size
    if (oidc := settings.oidc) is not None:
        yield "--oidc-issuer-url", oidc.issuer_url
        yield "--oidc-client-id", oidc.client_id
        yield "--oidc-username-claim", oidc.username_claim
        if oidc.username_prefix is not None:
            yield "--oidc-username-prefix", oidc.username_prefix
        yield "--oidc-groups-claim", oidc.groups_claim
        yield "--oidc-groups-prefix", oidc.groups_prefix
        for key, value in oidc.required_claims.items():
            yield "--oidc-required-claim", f"{key}={value}"
        if oidc.ca_file is not None:
            yield "--oidc-ca-file", oidc.ca_file
        yield "--oidc-signing-algs", ",".join(oidc.signing_algs)


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _duration(text: str) -> int:
    """Seconds, of a duration as Go writes it: 90m, 24h, 1h30m."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True)) if parts else 0
    )
    if not text or parts is None or 0 < seconds < _SHORTEST or seconds > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of at least an hour, such as 24h")
    return seconds


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
