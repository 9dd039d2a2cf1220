"""What the verbs work with: the server's parts, and one call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from homeport.apiserver.authz import Authorizer
from homeport.apiserver.encoding import Form, negotiate
from homeport.apiserver.fields import Fields
from homeport.apiserver.managers import Converted
from homeport.apiserver.resources import Registry, Served
from homeport.apiserver.routes import RequestInfo
from homeport.kube.meta import is_deleting
from homeport.kube.remembered import of_short_texts
from homeport.kube.wire import Request, User
from homeport.store.protocol import Record, Store

if TYPE_CHECKING:
    from homeport.apiserver.admission import Chain
    from homeport.apiserver.authn import BearerTokens
    from homeport.apiserver.definitions import Definitions
    from homeport.apiserver.frames import Frames
    from homeport.apiserver.health import Check
    from homeport.apiserver.identity.accounts import ServiceAccounts
    from homeport.apiserver.node import NodeProxy
    from homeport.apiserver.quota.ledger import Ledger
    from homeport.apiserver.services.allocation import Allocations
    from homeport.apiserver.webhooks.client import WebhookClient


class Follower(Protocol):
    def __call__(self, record: Record, *, deleted: bool) -> None:
        """An object was written or removed, and this is on disk; the client has no answer yet."""


class Api(msgspec.Struct, eq=False):
    """The parts of a server that verbs use."""

    store: Store
    registry: Registry
    authorizer: Authorizer
    now: Callable[[], datetime]
    node: NodeProxy | None
    definitions: Definitions
    """What keeps the registry in step with the CRDs."""
    fields: Fields
    admission: Chain
    frames: Frames
    """What watches of the same form share."""
    quotas: Ledger
    """Keeps the books of resource quotas."""
    allocations: Allocations
    """Gives services their addresses and ports."""
    webhooks: WebhookClient
    """Calls webhooks, of admission and others."""
    accounts: ServiceAccounts | None = None
    """Issues the tokens of service accounts."""
    tokens: BearerTokens | None = None
    """Knows whose a bearer token is; None where nobody logs in with one."""
    components: dict[str, Check] = msgspec.field(default_factory=dict)
    """The parts of the control plane by the names that ``componentstatuses`` has for them."""
    followers: dict[str, Follower] = msgspec.field(default_factory=dict)
    """Who hears at once of every write to a resource, by the resource's key."""

    def terminating(self, namespace: Record) -> bool:
        """Whether a namespace is being deleted, so that nothing new may be created in it."""
        # Looking for the key in the bytes is a hundred times cheaper than decoding, and almost always enough.
        return b'"deletionTimestamp"' in namespace.value and is_deleting(msgspec.json.decode(namespace.value))


class Call(msgspec.Struct):
    """One request to a resource, on its way through a verb."""

    request: Request
    info: RequestInfo
    user: User
    served: Served
    query: dict[str, str]
    """The first value of each parameter."""
    namespace: str
    """Of the addressed objects, empty for cluster scope (where a namespace's own name stands in the same place of the
    path)."""
    warnings: list[str] = msgspec.field(default_factory=list)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    """What admission has to say about this call in the audit log."""
    converted: Converted = msgspec.field(default_factory=dict)
    """What was converted to find out who manages which fields (:mod:`homeport.apiserver.managers`)."""

    @property
    def form(self) -> Form:
        """The form of the answer. Raises NotAcceptable."""
        return negotiate(self.request.headers.get("accept"))

    @property
    def manager(self) -> str:
        """The field manager: as asked, else what Kubernetes makes of the user agent."""
        asked = self.query.get("fieldManager")
        if asked:
            return asked
        return _agent_name(self.request.headers.get("user-agent", "")) or "unknown"


MAX_MANAGER = 128
"""Bytes that a field manager's name may have."""


@of_short_texts(256)
def _agent_name(agent: str) -> str:
    """What comes before a user agent's first slash: as many printable characters as fit."""
    name = "".join(letter for letter in agent.partition("/")[0].strip() if letter.isprintable())
    return name.encode(errors="replace")[:MAX_MANAGER].decode(errors="ignore")
