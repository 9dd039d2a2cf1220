"""The flags of ``homeport up`` that are kube-apiserver's: audit log, OpenID Connect, service accounts, a front proxy,
events, admission."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

from homeport.kube import quantity
from homeport.kube.errors import Permanent
from homeport.node import choice
from homeport.settings import (
    GANG_SCHEDULERS,
    AccountSettings,
    ApiSettings,
    AuditSettings,
    NodeSettings,
    OidcSettings,
    RequestHeaderSettings,
    ServiceSettings,
)

_HEADERS = {
    "username-headers": RequestHeaderSettings(Path()).username_headers,
    "uid-headers": RequestHeaderSettings(Path()).uid_headers,
    "group-headers": RequestHeaderSettings(Path()).group_headers,
    "extra-headers-prefix": RequestHeaderSettings(Path()).extra_headers_prefixes,
}
_SIGNALS = ("memory.available", "nodefs.available", "nodefs.inodesFree", "pid.available")
_POD_NETWORK = ipaddress.IPv4Network("10.42.0.0/16")
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
    oidc.add_argument(
        "--authentication-config", type=Path, metavar="FILE",
        help="an AuthenticationConfiguration: several providers, and rules (instead of --oidc-*)",
    )  # fmt: skip
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
    accounts.add_argument(
        "--service-account-signing-key-file", type=Path, metavar="FILE",
        help="the private key that signs tokens (default: one that is made in the data directory)",
    )  # fmt: skip
    accounts.add_argument(
        "--service-account-key-file", action="append", default=[], type=Path, metavar="FILE",
        help="a key, public or private, whose tokens are believed too; may be given several times",
    )  # fmt: skip
    proxy = parser.add_argument_group("front proxy")
    proxy.add_argument(
        "--requestheader-client-ca-file", type=Path, metavar="FILE",
        help="believe headers about the user on connections with a certificate of this authority",
    )  # fmt: skip
    proxy.add_argument(
        "--requestheader-allowed-names", default="", metavar="LIST",
        help="names that the certificate has to have one of (default: any)",
    )  # fmt: skip
    for part, names in _HEADERS.items():
        proxy.add_argument(
            f"--requestheader-{part}", default=",".join(names), metavar="LIST", help=f"default: {','.join(names)}"
        )
    parser.add_argument(
        "--event-ttl", type=_any_duration, default=3600, metavar="TIME", help="how long events are kept (default: 1h)"
    )
    parser.add_argument(
        "--service-cluster-ip-range", type=_network, default=ServiceSettings().network, metavar="CIDR",
        help="where cluster IPs of services come from (default: 10.43.0.0/16)",
    )  # fmt: skip
    parser.add_argument(
        "--service-node-port-range", type=_ports, default=(30000, 32767), metavar="FIRST-LAST",
        help="where node ports of services come from (default: 30000-32767)",
    )  # fmt: skip
    jobs = parser.add_argument_group("training jobs")
    jobs.add_argument(
        "--gang-scheduler", choices=GANG_SCHEDULERS,
        help="place all pods of a job together or none: each job gets a PodGroup of this kind. Kept for later starts "
        "(default at first: none, but for jobs that ask for it)",
    )  # fmt: skip
    node = parser.add_argument_group("pods")
    node.add_argument(
        "--allow-privileged", type=_switch, nargs="?", const=True, default=False, metavar="true|false",
        help="let pods have privileged containers, and capabilities that lead out of a container (default: false)",
    )  # fmt: skip
    node.add_argument(
        "--allowed-unsafe-sysctls", default="", metavar="LIST",
        help="kernel parameters that pods may set beside the safe ones, such as kernel.msg*,net.core.somaxconn",
    )  # fmt: skip
    node.add_argument(
        "--seccomp-default", type=_switch, nargs="?", const=True, default=False, metavar="true|false",
        help="filter the system calls of containers without a seccompProfile as RuntimeDefault does (default: false)",
    )  # fmt: skip
    parser.add_argument(
        "--eviction-hard", type=_thresholds, default={}, metavar="LIST",
        help="what has to be left before pods are ended for the rest "
        "(default: memory.available<100Mi,nodefs.available<1Gi,nodefs.inodesFree<2%%,pid.available<5%%)",
    )  # fmt: skip
    parser.add_argument(
        "--runtime", type=_runtime, default=choice.AUTO, metavar="|".join(choice.KINDS),
        help="what runs pods: processes of this machine, or Docker or Podman (default: the best that there is)",
    )  # fmt: skip
    parser.add_argument(
        "--container-log-max-size", type=_bytes, default=NodeSettings().log_bytes, metavar="QUANTITY",
        help="size of a container's log file before it makes room for a new one (default: 10Mi)",
    )  # fmt: skip
    parser.add_argument(
        "--container-log-max-files", type=_log_files, default=NodeSettings().log_files, metavar="N",
        help="files of a container's log that stay, 2 or more (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--pod-max-pids", type=_whole, default=0, metavar="N",
        help="processes and threads that a pod may have (default: half of what the machine can have)",
    )  # fmt: skip
    parser.add_argument(
        "--admission-control-config-file", type=Path, metavar="FILE",
        help="an apiserver.config.k8s.io/v1 AdmissionConfiguration: defaults and exemptions of PodSecurity",
    )  # fmt: skip


def _runtime(text: str) -> str:
    kind = choice.ALIASES.get(text, text)
    if kind not in choice.KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(choice.KINDS)}")
    return kind


def _thresholds(text: str) -> dict[str, str]:
    """``memory.available<100Mi,nodefs.available<5%``, as the kubelet's flag has it."""
    found = {}
    for part in filter(None, text.split(",")):
        signal, separator, amount = (piece.strip() for piece in part.partition("<"))
        if not separator or signal not in _SIGNALS:
            known = ", ".join(_SIGNALS)
            raise argparse.ArgumentTypeError(f"{part!r} is not SIGNAL<AMOUNT with one of the signals {known}")
        try:
            share = quantity.parse(amount.removesuffix("%"))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{part!r}: {error}") from None
        if share < 0 or (amount.endswith("%") and share > 100):
            raise argparse.ArgumentTypeError(f"{part!r}: not an amount that can be left")
        found[signal] = amount
    return found


def _network(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a range of IPv4 addresses such as 10.43.0.0/16: {error}") from None
    if network.prefixlen > 30 or network.overlaps(_POD_NETWORK):
        raise argparse.ArgumentTypeError(f"{network} is too small, or overlaps the pods' network {_POD_NETWORK}")
    return network


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise argparse.ArgumentTypeError("not a range of ports such as 30000-32767")
    return int(first), int(last)


def settings_of(args: argparse.Namespace) -> ApiSettings:
    """Raises Permanent for flags that do not fit together."""
    if args.audit_policy_file is not None and args.audit_log_path is None:
        raise Permanent("--audit-policy-file needs --audit-log-path: without it nothing is recorded")
    audit = None
    if args.audit_log_path is not None:
        path = args.audit_log_path if args.audit_log_path == "-" else str(Path(args.audit_log_path).absolute())
        policy = _absolute(args.audit_policy_file)
        size = args.audit_log_maxsize or 100
        audit = AuditSettings(path, policy, args.audit_log_maxage, args.audit_log_maxbackup, size)
    if (args.oidc_issuer_url is None) != (args.oidc_client_id is None):
        raise Permanent("--oidc-issuer-url and --oidc-client-id should be specified together")
    oidc = None
    if args.oidc_issuer_url is not None and args.authentication_config is not None:
        raise Permanent("authentication-config file and oidc-* flags are mutually exclusive")
    if args.oidc_issuer_url is not None:
        oidc = OidcSettings(
            args.oidc_issuer_url,
            args.oidc_client_id,
            args.oidc_username_claim,
            args.oidc_username_prefix,
            args.oidc_groups_claim,
            args.oidc_groups_prefix,
            dict(args.oidc_required_claim),
            _absolute(args.oidc_ca_file),
            _list(args.oidc_signing_algs),
        )
    issuer = args.service_account_issuer or AccountSettings().issuer
    accounts = AccountSettings(
        issuer,
        _list(args.api_audiences),
        args.service_account_max_token_expiration,
        args.service_account_extend_token_expiration,
        _absolute(args.service_account_signing_key_file),
        tuple(path.absolute() for path in args.service_account_key_file),
    )
    proxy = None
    if args.requestheader_client_ca_file is not None:
        proxy = RequestHeaderSettings(
            args.requestheader_client_ca_file.absolute(),
            _list(args.requestheader_allowed_names),
            _list(args.requestheader_username_headers),
            _list(args.requestheader_uid_headers),
            _list(args.requestheader_group_headers),
            _list(args.requestheader_extra_headers_prefix),
        )
    return ApiSettings(
        accounts,
        audit,
        oidc,
        _absolute(args.authentication_config),
        proxy,
        args.event_ttl,
        _absolute(args.admission_control_config_file),
        ServiceSettings(args.service_cluster_ip_range, *args.service_node_port_range),
        NodeSettings(
            args.eviction_hard,
            args.pod_max_pids,
            args.allow_privileged,
            _list(args.allowed_unsafe_sysctls),
            args.seccomp_default,
            args.container_log_max_size,
            args.container_log_max_files,
            args.runtime,
        ),
        args.gang_scheduler,
    )


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
        if accounts.signing_key_file is not None:
            yield "--service-account-signing-key-file", accounts.signing_key_file
        for path in accounts.key_files:
            yield "--service-account-key-file", path
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
    if settings.authentication_config is not None:
        yield "--authentication-config", settings.authentication_config
    if (proxy := settings.request_header) is not None:
        yield "--requestheader-client-ca-file", proxy.client_ca_file
        yield "--requestheader-allowed-names", ",".join(proxy.allowed_names)
        yield "--requestheader-username-headers", ",".join(proxy.username_headers)
        yield "--requestheader-uid-headers", ",".join(proxy.uid_headers)
        yield "--requestheader-group-headers", ",".join(proxy.group_headers)
        yield "--requestheader-extra-headers-prefix", ",".join(proxy.extra_headers_prefixes)
    if settings.event_ttl != ApiSettings().event_ttl:
        yield "--event-ttl", f"{settings.event_ttl}s"
    services = settings.services
    if services != ServiceSettings():
        yield "--service-cluster-ip-range", services.network
        yield "--service-node-port-range", f"{services.first_port}-{services.last_port}"
    node = settings.node
    if node.thresholds:
        yield "--eviction-hard", ",".join(f"{signal}<{amount}" for signal, amount in node.thresholds.items())
    if node.runtime != NodeSettings().runtime:
        yield "--runtime", node.runtime
    if node.log_bytes != NodeSettings().log_bytes:
        yield "--container-log-max-size", node.log_bytes
    if node.log_files != NodeSettings().log_files:
        yield "--container-log-max-files", node.log_files
    if node.most_pids:
        yield "--pod-max-pids", node.most_pids
    if node.allow_privileged:
        yield "--allow-privileged", "true"
    if node.unsafe_sysctls:
        yield "--allowed-unsafe-sysctls", ",".join(node.unsafe_sysctls)
    if node.seccomp_default:
        yield "--seccomp-default", "true"
    if settings.gang_scheduler is not None:
        yield "--gang-scheduler", settings.gang_scheduler
    if settings.admission_file is not None:
        yield "--admission-control-config-file", settings.admission_file


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _bytes(text: str) -> int:
    try:
        found = int(quantity.parse(text))
    except ValueError:
        found = 0
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 10Mi")
    return found


def _log_files(text: str) -> int:
    found = _whole(text)
    if found < 2:
        raise argparse.ArgumentTypeError("a log needs two files or more")
    return found


def _absolute(path: Path | None) -> Path | None:
    """The platform in the background works elsewhere."""
    return None if path is None else path.absolute()


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _duration(text: str) -> int:
    """Seconds, none or at least an hour."""
    seconds = _seconds(text)
    if seconds is None or 0 < seconds < _SHORTEST or seconds > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of at least an hour, such as 24h")
    return seconds


def _any_duration(text: str) -> int:
    seconds = _seconds(text)
    if not seconds or seconds > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, such as 90m")
    return seconds


def _seconds(text: str) -> int | None:
    """Of a duration as Go writes it: 90m, 24h, 1h30m."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not text or parts is None:
        return None
    return sum(int(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True))


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
