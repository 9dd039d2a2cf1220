"""What the fork server has found out and made ready for every pod of the node."""

from __future__ import annotations

import ipaddress

from homeport.node.sandbox import cgroups, registry
from homeport.node.sandbox.layout import Layout


class Node:
    """What a supervisor gets from the zygote by the fork."""

    __slots__ = ("directory", "groups", "layout", "namespace", "network", "registry", "user_namespace")

    layout: Layout
    """What its containers see of the machine; there before the first pod."""

    def __init__(
        self,
        net: ipaddress.IPv4Network,
        namespace: int,
        entries: registry.Registry,
        groups: cgroups.Groups,
        directory: str,
        *,
        user_namespace: bool,
    ) -> None:
        self.network = net
        self.namespace = namespace
        """A descriptor of the node's network namespace."""
        self.registry = entries
        self.groups = groups
        self.directory = directory
        """The node's own."""
        self.user_namespace = user_namespace
