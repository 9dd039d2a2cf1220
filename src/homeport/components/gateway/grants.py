"""Who may refer to objects of a namespace from others."""

from __future__ import annotations

from typing import Annotated

import msgspec

from homeport.components.gateway.common import GatewayModel, Group, KindName, Namespace, ObjectName
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import atomic_list, doc


class ReferenceGrant(GatewayModel, frozen=True):
    """Allows objects of other namespaces to refer to objects of this one."""

    spec: Annotated[ReferenceGrantSpec, doc("Who may refer to what.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None


class ReferenceGrantSpec(GatewayModel, frozen=True):
    """Who may refer to what."""

    from_: Annotated[list[ReferenceGrantFrom], atomic_list(), doc("Who may refer.", min_items=1, max_items=16)] = (
        msgspec.field(name="from")
    )
    to: Annotated[list[ReferenceGrantTo], atomic_list(), doc("To what.", min_items=1, max_items=16)]


class ReferenceGrantFrom(GatewayModel, frozen=True):
    """Objects of a kind in a namespace."""

    group: Annotated[Group, doc("Their API group; empty for the core group.")]
    kind: Annotated[KindName, doc("Their kind.")]
    namespace: Annotated[Namespace, doc("Their namespace.")]


class ReferenceGrantTo(GatewayModel, frozen=True):
    """Objects of a kind, or one of them."""

    group: Annotated[Group, doc("Their API group; empty for the core group.")]
    kind: Annotated[KindName, doc("Their kind.")]
    name: Annotated[ObjectName | None, doc("The name of one; all of them if absent.")] = None
