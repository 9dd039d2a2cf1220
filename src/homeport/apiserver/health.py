"""``/livez``, ``/readyz`` and ``/healthz``: named checks, and whether all of them pass.

Answers as upstream words them (``k8s.io/apiserver/pkg/server/healthz``): ``ok``, or one line per check with
``?verbose`` and whenever one fails; ``?exclude=NAME`` leaves a check out; ``/readyz/NAME`` asks one alone. The lists of
all checks are open to whoever may ask at all, so they do not say why a check failed; the log does, and so does the
check's own path, which takes a permission.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple

from homeport.kube.errors import HomeportError
from homeport.kube.wire import Request, Response
from homeport.store.protocol import Store, StoreError

log = logging.getLogger(__name__)

PATHS: Final = ("/healthz", "/livez", "/readyz")
_TEXT: Final = {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-cache, private",
    "x-content-type-options": "nosniff",
}
_STARTED: Final = (
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/aggregator-reload-proxy-client-cert",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "autoregister-completion",
)
"""Upstream's names of what it has still to do when it begins to listen. Here it is done by then; tools ask by name."""
_SECONDS: Final = 2.0
"""A check that takes longer has failed: the disk hangs."""
_LOG_SECONDS: Final = 0.5
"""How long a handler of the log may be busy with a line."""


class Unhealthy(HomeportError):
    """A check failed; the text says why."""


class Check(NamedTuple):
    """`run` raises Unhealthy (or an error of the store) if something is wrong."""

    name: str
    run: Callable[[], Awaitable[None]]
    live: bool = True
    """Whether a failure means that only a new start can help: it is then part of ``/livez`` and ``/healthz``, not only
    of ``/readyz``."""


class Health:
    """The checks of one server. Others add theirs with `add`."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self._checks = {check.name: check for check in checks}
        self._logged: dict[str, str] = {}
        """What the log was told last, by path: anybody may ask, as often as they like."""

    def add(self, check: Check) -> None:
        self._checks[check.name] = check

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        return [
            *PATHS,
            *(f"{root}/{check.name}" for root in PATHS for check in self._checks.values() if self._asked(root, check)),
            *(f"{root}/{name}" for root in PATHS for name in _STARTED),
        ]

    async def answer(self, request: Request, path: str) -> Response | None:
        """The answer to a path at or below one of PATHS; None if there is no such check."""
        root, _, name = path[1:].partition("/")
        if f"/{root}" not in PATHS:
            return None
        if name in _STARTED:
            return Response(200, dict(_TEXT), b"ok")
        if name:
            check = self._checks.get(name)
            if check is None or not self._asked(f"/{root}", check):
                return None
            why = await failure(check)
            if why is not None:
                return Response(500, dict(_TEXT), f"internal server error: {why}\n".encode())
            return Response(200, dict(_TEXT), b"ok")
        return await self._all(request, root)

    async def _all(self, request: Request, root: str) -> Response:
        excluded = {value for key, value in request.query if key == "exclude"}
        checks = [check for check in self._checks.values() if self._asked(f"/{root}", check)]
        asked = [check for check in checks if check.name not in excluded]
        failures = dict(zip(asked, await asyncio.gather(*map(failure, asked)), strict=True))
        lines: list[str] = []
        for check in checks:
            if check not in failures:
                lines.append(f"[+]{check.name} excluded: ok")
            elif failures[check] is None:
                lines.append(f"[+]{check.name} ok")
            else:
                lines.append(f"[-]{check.name} failed: reason withheld")
        lines.extend(f"[+]{name} {'excluded: ok' if name in excluded else 'ok'}" for name in _STARTED)
        unknown = excluded.difference((check.name for check in checks), _STARTED)
        if unknown:
            quoted = ",".join(f'"{name}"' for name in sorted(unknown))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        failed = {check.name: why for check, why in failures.items() if why is not None}
        if failed:
            reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
            if self._logged.get(root) != reasons:
                self._logged[root] = reasons
                log.warning("%s check failed: %s", root, reasons)
            return Response(500, dict(_TEXT), "\n".join([*lines, f"{root} check failed\n"]).encode())
        if not excluded and self._logged.pop(root, None) is not None:
            log.info("%s check passed again", root)
        if not any(key == "verbose" for key, _ in request.query):
            return Response(200, dict(_TEXT), b"ok")
        return Response(200, dict(_TEXT), "\n".join([*lines, f"{root} check passed\n"]).encode())

    @staticmethod
    def _asked(root: str, check: Check) -> bool:
        return check.live or root == "/readyz"


def standard(store: Store) -> Health:
    """The checks that every server has. The store's is named ``etcd``, since that is what scripts exclude and ask."""

    async def ping() -> None:
        """That this runs is the answer."""

    return Health((Check("ping", ping), Check("log", _log_is_free), Check("etcd", store.probe)))


async def _log_is_free() -> None:
    """A handler of the log that is stuck in a write holds its lock, and soon everybody who logs waits for it."""
    for handler in logging.getLogger().handlers:
        lock = handler.lock
        # A free lock is the rule. Only a thread can wait for one that is not: its release is no event of the loop.
        if (
            lock is not None
            and not _can_be_had(lock, 0)
            and not await asyncio.to_thread(_can_be_had, lock, _LOG_SECONDS)
        ):
            raise Unhealthy("logging blocked")


def _can_be_had(lock: Any, seconds: float) -> bool:
    """Whether the lock is free, or will be within that time."""
    if not lock.acquire(timeout=seconds):
        return False
    lock.release()
    return True


async def failure(check: Check) -> str | None:
    """Why the check fails; None if it does not."""
    try:
        async with asyncio.timeout(_SECONDS):
            await check.run()
    except TimeoutError:
        return f"no result within {_SECONDS:g} s"
    except (HomeportError, StoreError) as error:
        return str(error)
    return None
