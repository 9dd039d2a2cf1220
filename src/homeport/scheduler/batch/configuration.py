"""How the batch scheduler is set up: the content of Volcano's ``volcano-scheduler.conf``, typed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Arguments = Mapping[str, str]
"""As they stand in the file; everything is text, each plugin reads its own."""


class PluginOption(msgspec.Struct, frozen=True):
    """A plugin of a tier. `disabled`: the names of the votes that it does not take part in, as the file's ``enable…``
    keys name them without the prefix: ``jobOrder``, ``taskOrder``, ``queueOrder``, ``preemptable``, ``reclaimable``,
    ``predicate``, ``nodeOrder``, ``overused``, ``allocatable``, ``jobEnqueued``, ``jobReady``, ``jobPipelined``,
    ``jobStarving``, ``hierarchy`` …"""

    name: str
    arguments: Arguments = msgspec.field(default_factory=dict)
    disabled: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    """What is off unless it is named (``enableHierarchy: true``)."""


Tier = tuple[PluginOption, ...]


def _tiers() -> tuple[Tier, ...]:
    first = ("priority", "gang", "conformance")
    second = ("overcommit", "drf", "predicates", "proportion", "nodeorder")
    return tuple(tuple(map(PluginOption, names)) for names in (first, second))


class Configuration(msgspec.Struct, frozen=True):
    """The defaults are Volcano's (``volcano-scheduler.conf`` of its Helm chart), and time-outs that it has not."""

    actions: tuple[str, ...] = ("enqueue", "allocate", "backfill")
    tiers: tuple[Tier, ...] = msgspec.field(default_factory=_tiers)
    arguments: Mapping[str, Arguments] = msgspec.field(default_factory=dict)
    """By action (``configurations:`` of the file)."""
    inqueue_seconds: float = 300.0
    """How long a group may be Inqueue without becoming whole before it makes room for others in the queue."""
    stale_seconds: float = 300.0
    """How long a group may hold resources with fewer ready than it needs before it gives them back."""
    reserve_seconds: float = 120.0
    """How long a gang waits before nodes are kept for it."""
    scheduler: str = "volcano"
    """The name in the words of conditions."""
