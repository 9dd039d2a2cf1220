"""What a process says that is to become a container's command, before it does: whom it has become, or why it does not.

A line of JSON with the ids, once it has them, and the reason that it has not become its command; nothing more, and the
end, if it has.
"""

from __future__ import annotations

import json
import os


def tell_ids(outcome: int) -> None:
    """By the process itself: only its own user namespace numbers its ids as the container knows them."""
    primary = os.getgid()
    further = [group for group in os.getgroups() if group != primary]
    os.write(outcome, json.dumps([os.getuid(), primary, *further]).encode() + b"\n")


def heard(said: bytes) -> tuple[list[int], bytes]:
    """The ids (user, group, further groups), empty as long as they are not known; and the reason, empty if there is
    none."""
    line, found, rest = said.partition(b"\n")
    return (json.loads(line), rest) if found else ([], b"") if _begins_ids(said) else ([], said)


def _begins_ids(said: bytes) -> bool:
    """Ids are numbers; reasons have a text after their first."""
    return b'"' not in said
