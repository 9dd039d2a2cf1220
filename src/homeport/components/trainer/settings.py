"""What an operator may set for all training jobs."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Reporting(msgspec.Struct, frozen=True):
    """Where training reports its progress to."""

    url: str
    """The server, such as ``https://kubernetes.default.svc``."""
    authority: str = "kube-root-ca.crt"
    """A config map of every namespace, whose ``ca.crt`` is the authority of the server's certificate."""
    bundle: Callable[[], str] | None = None
    """The authorities by which the server is believed now, in PEM, for a server that `authority` doesn't know: each job
    gets a config map with them. None: `authority` is the one."""


class Settings(msgspec.Struct, frozen=True):
    """What an operator may set for all training jobs."""

    reporting: Reporting | None = None
    """None: jobs are told of no such place, as upstream with its feature gate ``TrainJobStatus`` off."""
