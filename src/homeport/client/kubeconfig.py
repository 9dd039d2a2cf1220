"""Kubeconfig files: where the server is and who we are. The format is kubectl's (``kind: Config``, ``v1``).

Several files merge as kubectl merges them: for each cluster, user and context the first file that has the name wins,
and so does the first ``current-context``.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from homeport.files import write_atomically
from homeport.kube import plainyaml
from homeport.kube.errors import Permanent

_ENTRIES = {"clusters": "cluster", "users": "user", "contexts": "context"}
"""The lists of a file, and what is under the name of each entry."""
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(Permanent):
    """The file is missing, unreadable or says too little; the text names the file, the field and the remedy."""


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints an ExecCredential (``client.authentication.k8s.io``)."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    api_version: str = "client.authentication.k8s.io/v1"
    provide_cluster_info: bool = False
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that a connection needs. Secrets are left out of its ``repr``."""

    server: str
    namespace: str = "default"
    ca_pem: bytes = b""
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    certificate_pem: bytes = field(default=b"", repr=False)
    key_pem: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """Read again whenever it changes: tokens in it are rotated."""
    username: str = ""
    password: str = field(default="", repr=False)
    plugin: ExecPlugin | None = field(default=None, repr=False)
    impersonate: str = ""
    impersonate_groups: tuple[str, ...] = ()


class Kubeconfig:
    """The merged content of some kubeconfig files."""

    def __init__(self, documents: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
        self.current_context = ""
        self._clusters: dict[str, tuple[Path, Mapping[str, Any]]] = {}
        self._users: dict[str, tuple[Path, Mapping[str, Any]]] = {}
        self._contexts: dict[str, tuple[Path, Mapping[str, Any]]] = {}
        self._in_cluster: Access | None = None
        for path, document in documents:
            self.current_context = self.current_context or str(document.get("current-context") or "")
            for (key, member), into in zip(
                _ENTRIES.items(), (self._clusters, self._users, self._contexts), strict=True
            ):
                for entry in document.get(key) or ():
                    into.setdefault(str(entry["name"]), (path, entry.get(member) or {}))

    @classmethod
    def find(cls, path: str | Path | None = None) -> Kubeconfig:
        """One file; or, as kubectl looks: the files of $KUBECONFIG, else ~/.kube/config, else the pod's own account."""
        if path is not None:
            return cls.load(Path(path))
        listed = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
        files = listed or [Path.home() / ".kube" / "config"]
        present = [file for file in files if file.exists()]
        if present:
            return cls.load(*present)
        inside = in_cluster()
        if inside is not None:
            config = cls(())
            config._in_cluster = inside
            return config
        looked = ", ".join(str(file) for file in files)
        raise KubeconfigError(f"no kubeconfig found (looked at {looked}); set KUBECONFIG or name a file")

    @classmethod
    def load(cls, *paths: Path) -> Kubeconfig:
        return cls([(path, read(path)) for path in paths])

    def access(self, context: str | None = None) -> Access:
        """How to reach the cluster of a context (None: the current one)."""
        if self._in_cluster is not None:
            return self._in_cluster
        chosen = context or self.current_context
        if not chosen:
            raise KubeconfigError(f"the kubeconfig has no current-context; name one of: {', '.join(self._contexts)}")
        if chosen not in self._contexts:
            known = ", ".join(self._contexts) or "none"
            raise KubeconfigError(f'context "{chosen}" does not exist in the kubeconfig; it has: {known}')
        path, entry = self._contexts[chosen]
        cluster_path, cluster = _member(self._clusters, path, chosen, "cluster", str(entry.get("cluster") or ""))
        user_path, user = path, cast("Mapping[str, Any]", {})
        if entry.get("user"):
            user_path, user = _member(self._users, path, chosen, "user", str(entry["user"]))
        return _access(cluster_path, cluster, user_path, user, str(entry.get("namespace") or "default"))


def _member(
    entries: Mapping[str, tuple[Path, Mapping[str, Any]]], path: Path, context: str, what: str, name: str
) -> tuple[Path, Mapping[str, Any]]:
    if name not in entries:
        raise KubeconfigError(f'{path}: context "{context}" names the {what} "{name}", which no kubeconfig file has')
    return entries[name]


def _access(
    cluster_path: Path, cluster: Mapping[str, Any], user_path: Path, user: Mapping[str, Any], namespace: str
) -> Access:
    server = _server(cluster_path, cluster)
    if "auth-provider" in user:
        raise KubeconfigError(f"{user_path}: user.auth-provider is gone from Kubernetes; use an exec plugin instead")
    token_file = user.get("tokenFile")
    return Access(
        server=server,
        namespace=namespace,
        ca_pem=_data_or_file(cluster_path, cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy_url=str(cluster.get("proxy-url") or ""),
        certificate_pem=_data_or_file(user_path, user, "client-certificate"),
        key_pem=_data_or_file(user_path, user, "client-key"),
        token=str(user.get("token") or ""),
        token_file=_resolve(user_path, str(token_file)) if token_file else None,
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        plugin=_plugin(user_path, plugin) if (plugin := _mapping(user_path, user, "exec")) else None,
        impersonate=str(user.get("as") or ""),
        impersonate_groups=tuple(str(group) for group in _list(user_path, user, "as-groups")),
    )


def _server(path: Path, cluster: Mapping[str, Any]) -> str:
    server = str(cluster.get("server") or "")
    if not server:
        raise KubeconfigError(f"{path}: cluster.server is missing")
    try:
        parts = urlsplit(server)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return server.rstrip("/")
    except ValueError as error:
        raise KubeconfigError(f"{path}: cluster.server {server!r}: {error}") from error
    raise KubeconfigError(f"{path}: cluster.server {server!r}: expected a URL like https://host:port")


def _mapping(path: Path, owner: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = owner.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise KubeconfigError(f"{path}: {key}: expected a mapping")
    return value


def _list(path: Path, owner: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = owner.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise KubeconfigError(f"{path}: {key}: expected a list")
    return value


def _variable(path: Path, pair: Any) -> tuple[str, str]:
    if not isinstance(pair, Mapping) or "name" not in pair:
        raise KubeconfigError(f"{path}: every entry of user.exec.env needs a name")
    return str(pair["name"]), str(pair.get("value") or "")


def _plugin(path: Path, entry: Mapping[str, Any]) -> ExecPlugin:
    command = str(entry.get("command") or "")
    if not command:
        raise KubeconfigError(f"{path}: user.exec.command is missing")
    if os.sep in command:  # a path is relative to the file; a bare name is looked up in PATH
        command = str(_resolve(path, command))
    version = str(entry.get("apiVersion") or "")
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        raise KubeconfigError(f"{path}: user.exec.apiVersion {version!r}: expected client.authentication.k8s.io/v1")
    return ExecPlugin(
        command=command,
        args=tuple(str(arg) for arg in _list(path, entry, "args")),
        env=dict(_variable(path, pair) for pair in _list(path, entry, "env")),
        api_version=version,
        provide_cluster_info=bool(entry.get("provideClusterInfo")),
        install_hint=str(entry.get("installHint") or ""),
    )


def _data_or_file(path: Path, entry: Mapping[str, Any], key: str) -> bytes:
    """``<key>-data`` (base64) wins over ``<key>`` (a file, relative to the kubeconfig's directory)."""
    data = entry.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{path}: {key}-data is not base64: {error}") from error
    file = entry.get(key)
    if not file:
        return b""
    resolved = _resolve(path, str(file))
    try:
        return resolved.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{path}: {key}: {resolved}: {error.strerror}") from error


def _resolve(path: Path, file: str) -> Path:
    """A file that a kubeconfig names, relative to it. Raises KubeconfigError for what can't be one."""
    try:
        if "\0" in file:
            raise ValueError("a file name has no null byte")
        return (path.parent / Path(file).expanduser()).absolute()
    except (ValueError, RuntimeError) as error:  # the second: ~ of nobody
        raise KubeconfigError(f"{path}: {file!r}: {error}") from error


def in_cluster(directory: Path = _SERVICE_ACCOUNT, environ: Mapping[str, str] | None = None) -> Access | None:
    """The access that a pod's service account gives, or None outside of a cluster."""
    env = os.environ if environ is None else environ
    host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
    token_file = directory / "token"
    if not host or not port or not token_file.exists():
        return None
    authority = f"[{host}]" if ":" in host else host
    ca_file, namespace_file = directory / "ca.crt", directory / "namespace"
    return Access(
        server=f"https://{authority}:{port}",
        namespace=namespace_file.read_text().strip() if namespace_file.exists() else "default",
        ca_pem=ca_file.read_bytes() if ca_file.exists() else b"",
        token_file=token_file,
    )


def read(path: Path) -> dict[str, Any]:
    """A kubeconfig file as a dict. Raises KubeconfigError."""
    try:
        return parse(path, path.read_bytes())
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error


def parse(path: Path, text: bytes) -> dict[str, Any]:
    """The content of the file at `path` as a dict, whose clusters, users and contexts are mappings with names. Raises
    KubeconfigError."""
    from homeport.kube import yamltext

    try:
        documents = yamltext.documents(text)
    except yamltext.YamlError as error:
        raise KubeconfigError(f"{path}: not YAML: {error}") from error
    document = documents[0] if documents else None
    if document is None:
        return {}
    if not isinstance(document, dict) or len(documents) > 1:
        raise KubeconfigError(f"{path}: expected a mapping with clusters, users and contexts")
    for key, member in _ENTRIES.items():
        for entry in _list(path, document, key):
            if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
                raise KubeconfigError(f"{path}: every entry of {key} needs a name")
            _mapping(path, entry, member)
    return document


def document(
    name: str,
    *,
    server: str,
    ca_pem: bytes = b"",
    token: str = "",
    certificate_pem: bytes = b"",
    key_pem: bytes = b"",
    namespace: str = "",
) -> dict[str, Any]:
    """A kubeconfig with one cluster, one user and one context, all called `name`."""
    cluster: dict[str, Any] = {"server": server}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem).decode()
    user: dict[str, Any] = {}
    if token:
        user["token"] = token
    if certificate_pem:
        user["client-certificate-data"] = base64.b64encode(certificate_pem).decode()
        user["client-key-data"] = base64.b64encode(key_pem).decode()
    context = {"cluster": name, "user": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the clusters, users and contexts of `new` added or replaced, and with its current one."""
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", **old}
    for key in ("clusters", "users", "contexts"):
        entries = {entry["name"]: entry for entry in merged.get(key) or ()}
        entries.update((entry["name"], entry) for entry in new.get(key) or ())
        merged[key] = list(entries.values())
    merged["current-context"] = new.get("current-context") or ""
    return merged


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the file as a whole, for its owner only. Follows a symbolic link."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, plainyaml.dump(content))
