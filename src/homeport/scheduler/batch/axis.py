"""Amounts of resources as vectors: one place for each resource that anybody asks for or has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from homeport.scheduler.batch.model import Amounts
from homeport.scheduler.model import CPU, MEMORY, PODS

Vector: TypeAlias = NDArray[np.int64]
"""One amount for each resource of the axis."""
Table: TypeAlias = NDArray[np.int64]
"""One vector a node: a row each."""
Mask: TypeAlias = NDArray[np.bool_]
Scores: TypeAlias = NDArray[np.float64]
Indexes: TypeAlias = NDArray[np.intp]
Places: TypeAlias = NDArray[np.intp] | int
"""Some nodes, or one: most looks are at the one that has just changed, and arrays of one cost."""

UNLIMITED = 1 << 60
"""More than there is of anything; two of them still fit into 64 bits."""


class Axis:
    """Which place of a vector is which resource. It never changes: with a new resource there is a new axis."""

    def __init__(self, resources: Iterable[str]) -> None:
        first = (PODS, CPU, MEMORY)
        self.resources = (*first, *sorted(set(resources).difference(first)))
        self.index = {resource: place for place, resource in enumerate(self.resources)}
        self.size = len(self.resources)

    def __contains__(self, resource: str) -> bool:
        return resource in self.index

    def zero(self) -> Vector:
        return np.zeros(self.size, np.int64)

    def vector(self, amounts: Amounts | Iterable[tuple[str, int]], default: int = 0) -> Vector:
        """`default` stands for the resources that `amounts` does not name."""
        found = np.full(self.size, default, np.int64)
        for resource, amount in dict(amounts).items():
            found[self.index[resource]] = amount
        return found

    def amounts(self, vector: Vector) -> dict[str, int]:
        """The way back, without what is zero or without limit."""
        return {
            resource: amount
            for resource, amount in zip(self.resources, vector.tolist(), strict=True)
            if amount and amount < UNLIMITED
        }
