"""The proof of who we are, for each request: tokens, token files, plugins, client certificates.

A plugin runs when there is no credential yet, when the last one runs out, and once more when the server answers 401.
"""

from __future__ import annotations

import asyncio
import base64
import os
from datetime import UTC, datetime, timedelta

import msgspec

from homeport.client.kubeconfig import Access, ExecPlugin, KubeconfigError
from homeport.client.transport import Unreachable
from homeport.kube.meta import parse_time
from homeport.kube.wire import NOT_JSON

_EARLY = timedelta(seconds=30)
_PLUGIN_TIMEOUT = 60.0


class _Status(msgspec.Struct):
    token: str = ""
    clientCertificateData: str = ""
    clientKeyData: str = ""
    expirationTimestamp: str | None = None


class _ExecCredential(msgspec.Struct):
    status: _Status | None = None


class Credentials:
    def __init__(self, access: Access) -> None:
        self._access = access
        fixed: list[tuple[str, str]] = []
        if access.impersonate:
            fixed.append(("impersonate-user", access.impersonate))
            fixed += [("impersonate-group", group) for group in access.impersonate_groups]
        if access.token:
            fixed.append(_bearer(access.token))
        elif access.username:
            pair = f"{access.username}:{access.password}".encode()
            fixed.append(("authorization", "Basic " + base64.b64encode(pair).decode()))
        self._fixed = tuple(fixed)
        self._file_stamp: tuple[int, int] | None = None
        self._file_token = ""
        self._plugin_status: _Status | None = None
        self._plugin_lock = asyncio.Lock()
        self.certificate_version = 0
        """Changes whenever `certificate` does."""

    @property
    def renewable(self) -> bool:
        """Whether `renew` may help after a 401."""
        return self._access.plugin is not None or self._access.token_file is not None

    async def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that identify us. Raises Unreachable or KubeconfigError if a token can't be had."""
        if self._access.token_file is not None and not self._access.token:
            return (*self._fixed, _bearer(self._read_token()))
        if self._access.plugin is not None:
            status = await self._from_plugin(self._access.plugin)
            if status.token:
                return (*self._fixed, _bearer(status.token))
        return self._fixed

    async def renew(self) -> None:
        """Forget what the server has just refused."""
        self._file_stamp = None
        self._plugin_status = None

    def certificate(self) -> tuple[bytes, bytes] | None:
        """Certificate and key in PEM, or None."""
        status = self._plugin_status
        if status is not None and status.clientCertificateData:
            return status.clientCertificateData.encode(), status.clientKeyData.encode()
        if self._access.certificate_pem:
            return self._access.certificate_pem, self._access.key_pem
        return None

    def _read_token(self) -> str:
        path = self._access.token_file
        assert path is not None
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._file_stamp:
                self._file_token = path.read_text().strip()
                self._file_stamp = stamp
        except OSError as error:
            raise KubeconfigError(f"token file {path}: {error.strerror}") from error
        return self._file_token

    async def _from_plugin(self, plugin: ExecPlugin) -> _Status:
        async with self._plugin_lock:
            status = self._plugin_status
            if status is None or _runs_out(status):
                before = self.certificate()
                self._plugin_status = status = await _run(plugin, self._access)
                if self.certificate() != before:
                    self.certificate_version += 1
            return status


def _bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def _runs_out(status: _Status) -> bool:
    if not status.expirationTimestamp:
        return False
    try:
        return parse_time(status.expirationTimestamp) - _EARLY <= datetime.now(UTC)
    except ValueError:
        return True


async def _run(plugin: ExecPlugin, access: Access) -> _Status:
    spec: dict[str, object] = {"interactive": False}
    if plugin.provide_cluster_info:
        cluster: dict[str, object] = {"server": access.server}
        if access.ca_pem:
            cluster["certificate-authority-data"] = base64.b64encode(access.ca_pem).decode()
        spec["cluster"] = cluster
    info = msgspec.json.encode({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}).decode()
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env={**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": info},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        hint = f"; {plugin.install_hint}" if plugin.install_hint else ""
        raise KubeconfigError(f"credential plugin {plugin.command}: {error.strerror}{hint}") from error
    try:
        async with asyncio.timeout(_PLUGIN_TIMEOUT):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise Unreachable(f"credential plugin {plugin.command}: no answer within {_PLUGIN_TIMEOUT:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        text = errors.decode(errors="replace").strip()[-500:]
        raise Unreachable(f"credential plugin {plugin.command} ended with code {process.returncode}: {text}")
    try:
        status = msgspec.json.decode(output, type=_ExecCredential).status
    except NOT_JSON as error:
        raise Unreachable(f"credential plugin {plugin.command} printed no ExecCredential: {error}") from error
    if status is None or not (status.token or status.clientCertificateData):
        raise Unreachable(
            f"credential plugin {plugin.command}: its ExecCredential has neither a token nor a certificate"
        )
    return status
