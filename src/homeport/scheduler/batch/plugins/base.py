"""What a plugin may have a say in. All of it is optional: what a plugin does not define, it abstains from.

The rules by which votes count are Volcano's (``pkg/scheduler/framework/session_plugins.go``): of keys, the first that
differ decide; of votes, one "no" decides, and a "yes" ends the count at its tier; of victims, those that all plugins of
the first tier name that has a say (between queues: that all plugins name).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from homeport.scheduler.batch.axis import Places, Scores, Vector
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plugins.arguments import parsed

if TYPE_CHECKING:
    from homeport.scheduler.batch.network import Network
    from homeport.scheduler.batch.plan import Near, Plan
    from homeport.scheduler.batch.session import Session
    from homeport.scheduler.batch.state import GroupState, QueueState, Victim

Key = float | tuple[float | str, ...]
"""The smaller the earlier."""
Order = tuple[Key | str, ...]

NO, ABSTAIN, YES = -1, 0, 1


class Plugin:
    """`session` is complete but for plugins when this is called; a cycle makes its plugins anew."""

    name: ClassVar[str]
    numbers: ClassVar[tuple[str, ...]] = ()
    """Its arguments that are numbers; one that ends with a dot stands for all that begin so."""
    texts: ClassVar[tuple[str, ...]] = ()
    """Its other arguments."""

    sways: ClassVar[bool] = False
    """Whether what one queue gets may change the order of others."""

    @classmethod
    def variant(cls, option: PluginOption) -> type[Plugin]:
        """The class that does what the option says."""
        return cls

    @classmethod
    def complaint(cls, argument: str, text: str) -> str:
        """What is wrong with an argument; empty if nothing is."""
        if argument in cls.texts:
            return ""
        if not any(argument == name or (name.endswith(".") and argument.startswith(name)) for name in cls.numbers):
            known = sorted({*cls.texts, *(f"{name}NAME" if name.endswith(".") else name for name in cls.numbers)})
            there = f"there are {', '.join(known)}" if known else "there is none"
            return f"there is no such argument here, and it is passed over; {there}"
        return "" if parsed(text) is not None else f'has to be a number, not "{text}"; it counts as not given'

    def __init__(self, session: Session, option: PluginOption) -> None:
        self.session = session
        self.arguments = option.arguments
        self.option = option

    def job_order(self, group: GroupState) -> Key:
        raise NotImplementedError

    def task_order(self, task: Task) -> Key:
        raise NotImplementedError

    def queue_order(self, queue: QueueState) -> Key:
        raise NotImplementedError

    def job_enqueueable(self, group: GroupState) -> str | int:
        """A vote on whether the group may be Inqueue; a text is a "no" and why."""
        raise NotImplementedError

    def allocatable(self, queue: QueueState, amount: Vector) -> str:
        """Why the queue may not take as much more; empty if it may."""
        raise NotImplementedError

    def overused(self, queue: QueueState) -> bool:
        raise NotImplementedError

    def preemptive(self, queue: QueueState, amount: Vector) -> bool:
        """Whether the queue may take as much from others."""
        raise NotImplementedError

    def preemptable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        """Which of these may go for a pod of that group, of the same queue. None: abstains."""
        raise NotImplementedError

    def reclaimable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        """Which of these may go for a pod of that group, of another queue. None: abstains."""
        raise NotImplementedError

    def node_order(self, plan: Plan, places: Places) -> Scores:
        """How well pods of a class go to these nodes: each pod would be the next there. The higher the better.
        Of one node one number."""
        raise NotImplementedError

    def hypernode_order(self, group: GroupState, network: Network) -> Scores:
        """How well the group goes to each part of the network. The higher the better."""
        raise NotImplementedError

    def near(self, group: GroupState, task: Task) -> Near | None:
        """How well the next pod of a group goes to each node, beside `node_order`: what others of the group are there.
        None: there is nothing to say of such a group."""
        raise NotImplementedError

    def placed(self, group: GroupState, task: Task, place: int, sign: int) -> None:
        """A pod of the group has been given a node (1), or is no longer there (-1)."""
        raise NotImplementedError

    def moved(self, group: GroupState, amount: Vector, sign: int) -> None:
        """A pod of the group takes its share (1), or gives it back (-1). Queues' sums have been changed already."""
        raise NotImplementedError
