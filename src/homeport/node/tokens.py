"""The tokens of a pod's service account that its volumes show, and when each needs a successor.

The rules are the kubelet's (``pkg/kubelet/token``): a token is replaced once four fifths of its life have passed or it
is a day old, and a little earlier at random, so that not all pods ask at once.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.meta import Object

DEFAULT_SECONDS = 3600
_OLDEST = timedelta(hours=24)
_JITTER = 10.0
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Wish(NamedTuple):
    """What a volume asks for."""

    audience: str
    """Empty: the API server's own."""
    seconds: int


class Held(msgspec.Struct, frozen=True):
    token: str
    due: datetime
    """When it has to be replaced."""


def wishes(pod: Object) -> Iterator[Wish]:
    """The tokens that the pod's volumes show."""
    for volume in meta.spec(pod).get("volumes") or ():
        for part in (volume.get("projected") or {}).get("sources") or ():
            if source := part.get("serviceAccountToken"):
                yield wish_of(source)


def wish_of(source: Mapping[str, object]) -> Wish:
    """What one ``serviceAccountToken`` source asks for."""
    return Wish(str(source.get("audience") or ""), int(str(source.get("expirationSeconds") or DEFAULT_SECONDS)))


class Tokens:
    """The tokens of one pod. They are kept in memory and in the pod's volumes, nowhere else."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: dict[Wish, Held] = {}

    @property
    def due(self) -> datetime | None:
        """When the first token has to be replaced; None without any."""
        return min((held.due for held in self._held.values()), default=None)

    def distrust(self) -> None:
        """The wall clock has been set. Forward: a token may have ended; back: it may not hold yet. Each is due."""
        self._held = {wish: replace(held, due=_LONG_AGO) for wish, held in self._held.items()}

    async def get(self, pod: Object, now: datetime) -> Mapping[Wish, str]:
        """A token for each wish of the pod, new ones for those that are due. Raises ApiError and Unreachable."""
        wanted = set(wishes(pod))
        for wish in wanted:
            held = self._held.get(wish)
            if held is None or held.due <= now:
                self._held[wish] = await self._request(pod, wish)
        return {wish: self._held[wish].token for wish in wanted}

    async def _request(self, pod: Object, wish: Wish) -> Held:
        account = str(meta.spec(pod).get("serviceAccountName") or "default")
        path = core.SERVICE_ACCOUNT.resource.path(meta.namespace(pod), account, "token")
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name(pod), "uid": meta.uid(pod)}
        spec = {
            "audiences": [wish.audience] if wish.audience else [],
            "expirationSeconds": wish.seconds,
            "boundObjectRef": bound,
        }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = json.loads(await self._client.raw("POST", path, body=request))
        status = answer["status"]
        # What the server granted may be less than what was asked for.
        granted = (answer.get("spec") or {}).get("expirationSeconds") or wish.seconds
        return Held(status["token"], due(meta.parse_time(status["expirationTimestamp"]), granted))


def due(expires: datetime, seconds: int) -> datetime:
    """When a token that ends at `expires`, after a life of `seconds`, is replaced."""
    early = timedelta(seconds=random.uniform(0, _JITTER))
    return min(expires - timedelta(seconds=seconds / 5), expires - timedelta(seconds=seconds) + _OLDEST) - early
