"""The kinds of the Gateway API (``gateway.networking.k8s.io``): what routes and gateways may say, as the definitions of
its standard channel have it in version 1.6. Nothing here acts on them.

``ReferenceGrant`` is served as ``v1beta1``, its stored version upstream; the others as ``v1``.
"""

from __future__ import annotations

from homeport.components.gateway.kinds import GATEWAY, GATEWAY_CLASS, GRPC_ROUTE, HTTP_ROUTE, KINDS, REFERENCE_GRANT

__all__ = ["GATEWAY", "GATEWAY_CLASS", "GRPC_ROUTE", "HTTP_ROUTE", "KINDS", "REFERENCE_GRANT"]
