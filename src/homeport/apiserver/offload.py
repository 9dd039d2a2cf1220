"""Work that takes long, off the event loop: others are served meanwhile.

One worker thread does it, one piece after the other. It shares the interpreter with the loop, which gets its turn every
few milliseconds. What runs here must be pure, or at least read no more than one attribute at a time of what the loop
changes; what it worked out is used only after the loop has looked whether it still holds (a write names the revision
that it was made from).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from homeport.kube.schema import Laborious

if TYPE_CHECKING:
    from homeport.apiserver.resources import Served

P = ParamSpec("P")
T = TypeVar("T")

DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
"""The key of CustomResourceDefinitions."""
LARGE = 96 * 1024
"""Bytes of a definition from which on reading and checking it takes longer than others should wait (some 20 ms)."""


async def off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` gives, worked out in the worker thread. Raises what it raises."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_worker(), lambda: context.run(function, *args, **kwargs))


async def at(off: bool, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As :func:`off_loop` if `off`, else at once and without giving way."""
    return await off_loop(function, *args, **kwargs) if off else function(*args, **kwargs)


async def finished(off: bool, finish: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """What `finish` gives, which judges an object by its rules. Most rules take less than a millisecond; where they
    turn out to take long, they are evaluated once more, from the start and off the loop. `off` is as in :func:`at`."""
    if not off:
        try:
            return finish(*args, patient=False, **kwargs)
        except Laborious:
            pass
    return await off_loop(finish, *args, **kwargs)


def takes_long(served: Served, *sizes: int) -> bool:
    """Whether a write to an object of one of these sizes in bytes is better worked out off the loop: definitions are
    large, and checking one means compiling it."""
    return served.key == DEFINITIONS and max(sizes) > LARGE


@cache
def _worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "offload")
