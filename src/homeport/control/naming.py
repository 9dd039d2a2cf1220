"""Names for children of which there are as many as wanted, and none is like another: ``web-x7k2p``.

They look like those that Kubernetes draws by lot, but are derived from what is observed: the parent as it is and the
children that it has. So a sync gives the same names for the same world, and other ones once something has changed. A
name whose bearer still terminates, or was just deleted, does not come again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from hashlib import blake2b

from homeport.kube.meta import Object, resource_version, uid
from homeport.kube.names import SAFE_LETTERS

_LENGTH = 5
_LONGEST_PREFIX = 63 - _LENGTH


def suffix(*seed: str) -> str:
    """Five letters that follow from `seed`."""
    number = int.from_bytes(blake2b("\0".join(seed).encode(), digest_size=8).digest())
    letters = []
    for _ in range(_LENGTH):
        number, index = divmod(number, len(SAFE_LETTERS))
        letters.append(SAFE_LETTERS[index])
    return "".join(letters)


def another(prefix: str, taken: str) -> str:
    """A name in place of `taken`, which somebody else's object has."""
    return prefix[:_LONGEST_PREFIX] + suffix(taken)


def fresh_names(prefix: str, parent: Object, present: Collection[str]) -> Iterator[str]:
    """As many names as the caller takes, none of which is in `present`: the names of all children that there are."""
    seed = (uid(parent), resource_version(parent), *sorted(present))
    start = suffix(*seed) + suffix("", *seed)
    given = set(present)
    number = 0
    while True:
        name = prefix[:_LONGEST_PREFIX] + suffix(start, str(number))
        number += 1
        if name not in given:
            given.add(name)
            yield name
