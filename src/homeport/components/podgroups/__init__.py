"""Pod groups for pods that name Volcano and no group (:mod:`~homeport.components.podgroups.plain`).

It is no controller of one kind of parent: a group is made for the first pod of its owner. What most platforms never
need is not imported before there is such a pod.
"""

from __future__ import annotations

import asyncio

from homeport.client.client import Client
from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.meta import Object
from homeport.kube.scheduling import plain as rules


async def run(client: Client, informers: Informers) -> None:
    """Make these groups until cancelled."""
    wanted = asyncio.Event()

    def pod_changed(change: Change) -> None:
        if change.new is not None and rules.is_plain(change.new):
            wanted.set()

    pods = informers.get(core.POD.resource)
    pods.subscribe(pod_changed)
    await wanted.wait()
    pods.unsubscribe(pod_changed)
    from homeport.components.podgroups.plain import PlainGroups

    await PlainGroups(client, informers).run()


_SEEN = ["list", "watch"]
GRANTS: tuple[Object, ...] = (
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": _SEEN},
    {"apiGroups": [""], "resources": ["pods"], "verbs": [*_SEEN, "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "list", "patch"]},
    {"apiGroups": ["apps"], "resources": ["replicasets", "statefulsets"], "verbs": ["get", *_SEEN]},
    {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]},
    {"apiGroups": ["scheduling.volcano.sh"], "resources": ["queues"], "verbs": _SEEN},
    {
        "apiGroups": ["scheduling.volcano.sh"],
        "resources": ["podgroups"],
        "verbs": [*_SEEN, "create", "delete", "patch"],
    },
    # Clusters may ask for this of whoever makes an object that its owner has to wait for.
    {"apiGroups": [""], "resources": ["pods/finalizers"], "verbs": ["update"]},
    *(
        {"apiGroups": [group], "resources": [f"{plural}/finalizers"], "verbs": ["update"]}
        for group, plural in (
            ("apps", "replicasets"),
            ("apps", "statefulsets"),
            ("apps", "daemonsets"),
            ("batch", "jobs"),
        )
    ),
)
"""The rights that this takes."""

__all__ = ["GRANTS", "run"]
