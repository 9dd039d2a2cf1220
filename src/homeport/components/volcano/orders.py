"""Commands that wait to be carried out."""

from __future__ import annotations

from collections.abc import Collection

from homeport.control.controller import Observed
from homeport.kube import meta
from homeport.kube.meta import Object


def waiting(observed: Observed) -> list[Object]:
    """The commands for the parent, the oldest first; not those that were carried out and are on their way out."""
    issued = (one for one in observed.related.get("Command", {}).values() if not meta.is_deleting(one))
    return sorted(issued, key=lambda one: (meta.metadata(one).get("creationTimestamp"), meta.name(one)))


def why_not(parent: Object, command: Object, actions: Collection[str]) -> str:
    """Why a command is not carried out; empty if it can be. `actions`: those that the parent knows."""
    action, meant = str(command.get("action") or ""), (command.get("target") or {}).get("uid")
    if action not in actions:
        return f'Command {meta.name(command)}: there is no action "{action}"; there are {", ".join(actions)}'
    if meant and meant != meta.uid(parent):
        return f"Command {action} is about another {parent.get('kind') or 'object'} of this name, which is gone"
    return ""
