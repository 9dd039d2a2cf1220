"""What a user may choose for the API server beside its data directory and port. Flags have kube-apiserver's names."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

import msgspec

GANG_SCHEDULERS = ("none", "volcano", "scheduler-plugins")
"""Who may place the pods of training jobs together (``--gang-scheduler``)."""


class AuditSettings(msgspec.Struct, frozen=True):
    """The audit log (``--audit-*``)."""

    log_path: str
    """``-`` is the standard output."""
    policy_file: Path | None = None
    """Without one, every request is recorded once, without bodies."""
    max_age: int = 0
    """Days that old files are kept; 0: for ever."""
    max_backup: int = 0
    """How many old files are kept; 0: all."""
    max_size: int = 100
    """Megabytes of a file before it makes room for a new one."""


class OidcSettings(msgspec.Struct, frozen=True):
    """An OpenID Connect provider whose ID tokens are believed (``--oidc-*``)."""

    issuer_url: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str | None = None
    """``-``: none. Not given: the issuer and ``#``, unless the claim is ``email``."""
    groups_claim: str = ""
    groups_prefix: str = ""
    required_claims: Mapping[str, str] = msgspec.field(default_factory=dict)
    ca_file: Path | None = None
    """Without one, the machine's authorities are trusted."""
    signing_algs: tuple[str, ...] = ("RS256",)


class AccountSettings(msgspec.Struct, frozen=True):
    """The tokens of service accounts (``--service-account-*``, ``--api-audiences``)."""

    issuer: str = "https://kubernetes.default.svc.cluster.local"
    """By default the API server's name inside the cluster, as with upstream's installer."""
    audiences: tuple[str, ...] = ()
    """Whom tokens have to be for that come with a request; by default the issuer."""
    longest: int = 0
    """Seconds that a token may hold; 0: as long as is asked for."""
    extend: bool = True
    """Whether the tokens in pods are good for a year, for programs that read them only once."""
    signing_key_file: Path | None = None
    """The private key that signs; by default one that is made in the data directory."""
    key_files: tuple[Path, ...] = ()
    """Further keys, public or private, whose tokens are believed: those that signed before."""


class RequestHeaderSettings(msgspec.Struct, frozen=True):
    """A front proxy, whose word about users is believed (``--requestheader-*``); names of headers in any case."""

    client_ca_file: Path
    allowed_names: tuple[str, ...] = ()
    """Common names of certificates that are believed; empty: all of the authority."""
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_headers_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


class ServiceSettings(msgspec.Struct, frozen=True):
    """What services get their cluster IPs and node ports from."""

    network: ipaddress.IPv4Network = ipaddress.IPv4Network("10.43.0.0/16")
    """``--service-cluster-ip-range``."""
    first_port: int = 30000
    last_port: int = 32767
    """``--service-node-port-range``."""

    @property
    def api_address(self) -> str:
        """The cluster IP of the service ``kubernetes``: as upstream, the first."""
        return str(self.network.network_address + 1)


class NodeSettings(msgspec.Struct, frozen=True):
    """The node (flags of the kubelet)."""

    thresholds: Mapping[str, str] = msgspec.field(default_factory=dict)
    """How much of what has to be left before pods are ended for the rest (``--eviction-hard``): a signal such as
    ``memory.available``, and a quantity or a percentage. What is not named has its default."""
    most_pids: int = 0
    """Processes and threads that a pod may have (``--pod-max-pids``); 0: half of the machine's."""
    allow_privileged: bool = False
    """Privileged containers, and capabilities that lead out of a container (``--allow-privileged``)."""
    unsafe_sysctls: tuple[str, ...] = ()
    """Kernel parameters beside the safe ones (``--allowed-unsafe-sysctls``); a final ``*`` stands for any ending."""
    seccomp_default: bool = False
    """Filter the system calls of containers that say nothing about it (``--seccomp-default``)."""
    log_bytes: int = 10 << 20
    """Bytes of a container's log file before it makes room for a new one (``--container-log-max-size``)."""
    log_files: int = 5
    """How many files of a container's log stay (``--container-log-max-files``)."""
    runtime: str = "auto"
    """What runs pods (``--runtime``): ``processes`` of this machine, an engine's containers (``docker``), or the best
    that the machine can do (``auto``)."""


class ApiSettings(msgspec.Struct, frozen=True):
    accounts: AccountSettings = AccountSettings()
    audit: AuditSettings | None = None
    oidc: OidcSettings | None = None
    authentication_config: Path | None = None
    """An AuthenticationConfiguration, in place of `oidc` (``--authentication-config``)."""
    request_header: RequestHeaderSettings | None = None
    event_ttl: int = 3600
    """Seconds that events are kept after they were last written (``--event-ttl``)."""
    admission_file: Path | None = None
    """An AdmissionConfiguration (``--admission-control-config-file``)."""
    services: ServiceSettings = ServiceSettings()
    node: NodeSettings = NodeSettings()
    gang_scheduler: str | None = None
    """Who places all pods of a training job together (``--gang-scheduler``). Kept in the data directory; None: as it
    was said last, ``none`` at first."""


DEFAULTS = ApiSettings()
