"""Kubernetes itself, for tests: etcd, kube-apiserver and kube-controller-manager of this machine, on its loopback.

No package index has these programs, so most machines lack them, and the tests that want them are skipped there. Put
them on the PATH (of any release; `HOMEPORT_KUBERNETES_BIN` is looked in first) and they run. There is no kubelet:
tests play the node.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest
from ports import free_ports

from homeport.apiserver import pki_make

_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
_WHERE = os.pathsep.join(filter(None, (os.environ.get("HOMEPORT_KUBERNETES_BIN"), os.environ.get("PATH"))))
_MISSING = [name for name in _PROGRAMS if shutil.which(name, path=_WHERE) is None]
needs_kubernetes = pytest.mark.skipif(bool(_MISSING), reason=f"not on the PATH: {', '.join(_MISSING)}")
_ADMIN = "the-administrator"
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}


class Used(msgspec.Struct, frozen=True):
    """A right that somebody made use of."""

    verb: str
    group: str
    resource: str
    """With its subresource, as roles have it: ``tfjobs/status``."""


class Cluster(msgspec.Struct, frozen=True):
    """A cluster that runs."""

    kubeconfig: Path
    """Of an administrator."""
    audit: Path

    def used_by(self, user: str) -> dict[Used, bool]:
        """What a user asked the API server for, by the server's own log, and whether it had the right each time."""
        found: dict[Used, bool] = {}
        for line in self.audit.read_text().splitlines():
            event = json.loads(line)
            place = event.get("objectRef")
            if event["user"]["username"] != user or not place:
                continue
            resource = "/".join(filter(None, (place["resource"], place.get("subresource"))))
            used = Used(event["verb"], place.get("apiGroup", ""), resource)
            # Not by the answer's code: admission forbids things, too, which is for other reasons.
            is_allowed = event.get("annotations", {}).get("authorization.k8s.io/decision") != "forbid"
            found[used] = found.get(used, True) and is_allowed
        return found


@asynccontextmanager
async def cluster(place: Path) -> AsyncIterator[Cluster]:
    """A cluster while the block runs. `place`: an empty directory for all that it keeps."""
    await asyncio.to_thread(_prepare, place)
    etcd, peers, api, manager = free_ports(4)
    server = f"https://127.0.0.1:{api}"
    kubeconfig = place / "kubeconfig"
    kubeconfig.write_text(json.dumps(_config(server, place / "ca.crt")))
    async with AsyncExitStack() as stack:
        for name, address, flags in (
            ("etcd", f"http://127.0.0.1:{etcd}/health", _etcd(place, etcd, peers)),
            ("kube-apiserver", f"{server}/readyz", _api(place, etcd, api)),
            ("kube-controller-manager", f"https://127.0.0.1:{manager}/healthz", _manager(place, manager)),
        ):
            process = await stack.enter_async_context(_running(name, flags, place / f"{name}.log"))
            await _answers(process, address, place / f"{name}.log")
        yield Cluster(kubeconfig, place / "audit.log")


def _prepare(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    authority = pki_make.Issuer(place / "ca.crt", place / "ca.key")
    pki_make.authority(*authority, 30)
    pki_make.server(authority, place / "tls.crt", place / "tls.key", ("localhost",), ("127.0.0.1",), 30, "api")
    (place / "tokens.csv").write_text(f"{_ADMIN},admin,admin,system:masters\n")
    (place / "audit.json").write_text(json.dumps(_AUDIT))


def _config(server: str, authority: Path) -> dict[str, Any]:
    entry = {"server": server, "certificate-authority-data": b64encode(authority.read_bytes()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "upstream", "cluster": entry}],
        "users": [{"name": "admin", "user": {"token": _ADMIN}}],
        "contexts": [{"name": "upstream", "context": {"cluster": "upstream", "user": "admin"}}],
        "current-context": "upstream",
    }


def _etcd(place: Path, port: int, peers: int) -> list[str]:
    own, others = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    return [
        f"--data-dir={place / 'etcd'}", f"--listen-client-urls={own}", f"--advertise-client-urls={own}",
        f"--listen-peer-urls={others}", f"--initial-advertise-peer-urls={others}",
        f"--initial-cluster=default={others}", "--unsafe-no-fsync",
    ]  # fmt: skip


def _api(place: Path, etcd: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1", f"--secure-port={port}",
        f"--cert-dir={place}", f"--tls-cert-file={place / 'tls.crt'}", f"--tls-private-key-file={place / 'tls.key'}",
        f"--token-auth-file={place / 'tokens.csv'}", "--authorization-mode=Node,RBAC", "--allow-privileged",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={place / 'tls.crt'}",
        f"--service-account-signing-key-file={place / 'tls.key'}", "--service-cluster-ip-range=10.96.0.0/16",
        f"--audit-policy-file={place / 'audit.json'}", f"--audit-log-path={place / 'audit.log'}",
        # Clusters may ask who makes an owner's reference for the right to change that owner's finalizers.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
    ]  # fmt: skip


def _manager(place: Path, port: int) -> list[str]:
    config = place / "kubeconfig"
    return [
        f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1", f"--secure-port={port}", "--leader-elect=false", f"--cert-dir={place / 'manager'}",
        "--use-service-account-credentials", f"--service-account-private-key-file={place / 'tls.key'}",
        f"--root-ca-file={place / 'ca.crt'}", "--controllers=*,-nodeipam,-route,-service,-cloud-node-lifecycle",
    ]  # fmt: skip


@asynccontextmanager
async def _running(name: str, flags: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    program = shutil.which(name, path=_WHERE)
    assert program is not None
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(program, *flags, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    """Until a program says that it is ready. They tell nobody but who asks, so this asks again and again."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(_is_ready, url):
            if process.returncode is not None:
                pytest.fail((await asyncio.to_thread(log.read_text))[-4000:])
            await asyncio.sleep(0.2)


def _is_ready(url: str) -> bool:
    trusting = ssl._create_unverified_context()
    try:
        with urlopen(url, timeout=5, context=trusting if url.startswith("https") else None) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
