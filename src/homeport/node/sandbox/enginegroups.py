"""The control groups of pods that are an engine's containers: the engine puts a pod's containers into a group that is
made here, in the root of each hierarchy, where the engine looks for it by its path (``CgroupParent``).

::

    the root of the hierarchy
      homeport-<the node's key>
        pod<uid>                what the pod may use in all
          <id of a container>   the engine's own doing
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator

from homeport.node.sandbox import cgroups, groupends, hierarchies
from homeport.node.sandbox.spec import Limits

_POD = "pod"


def parent(node: str, uid: str) -> str:
    """A pod's group, as the engine is told."""
    return f"/{_name(node)}/{_pod(uid)}"


class PodGroups:
    """The node's groups, made with the first pod that has one."""

    def __init__(self, node: str) -> None:
        self._name = _name(node)

    def make(self, uid: str, limits: Limits) -> None:
        """Make a pod's group. Raises OSError; nothing is left then."""
        cgroups.found(self._name, at_root=True).make(_pod(uid), limits, divided=True)

    def limit(self, uid: str, limits: Limits) -> None:
        """Change what a pod may use. Raises OSError, with errno EBUSY where more memory is in use than that."""
        cgroups.found(self._name, at_root=True).below(_pod(uid), divided=True).limit(limits)

    def remove(self, uid: str) -> dict[str, object]:
        """Remove the group of a pod whose containers have gone, and the node's with the last of them; what is left of
        processes in it is the engine's (Podman has monitors there). No error if there is none. Raises OSError."""
        self._end(lambda name: name == _pod(uid))
        return {}

    def remove_others(self, uids: Collection[str]) -> dict[str, object]:
        """The same for the groups of all pods but those with these uids. What is wrong with one keeps none of the
        others. Raises OSError."""
        kept = {_pod(uid) for uid in uids}
        self._end(lambda name: name.startswith(_POD) and name not in kept)
        return {}

    def _end(self, is_wanted: Callable[[str], bool]) -> None:
        places = list(self._paths())
        found = []
        for path in places:
            with contextlib.suppress(FileNotFoundError):
                found += [os.path.join(path, name) for name in os.listdir(path) if is_wanted(name)]
        try:
            groupends.end_all(found)
        finally:
            for path in places:
                with contextlib.suppress(OSError):
                    os.rmdir(path)  # other pods have theirs there

    def _paths(self) -> Iterator[str]:
        """Where the node's group may be. The engine makes it in the hierarchies that limit nothing as well."""
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for mount in hierarchies.mounts(file.read()):
                yield os.path.join(mount, self._name)


def _name(node: str) -> str:
    return f"homeport-{node}"


def _pod(uid: str) -> str:
    return f"{_POD}{uid.replace('/', '_')}"
