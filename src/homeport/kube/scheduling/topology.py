"""The structs of ``topology.volcano.sh/v1alpha1``. Fields, bounds and meaning: Volcano 1.15."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from homeport.kube.core.types.meta import Condition, LabelSelector, ObjectMeta
from homeport.kube.schema.fields import Int64, Model, doc

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_MATCHES = ("exactMatch", "regexMatch", "labelMatch")
_SOME = " || ".join(f"has(self.{match})" for match in _MATCHES)
_COUNT = " + ".join(f"(has(self.{match}) ? 1 : 0)" for match in _MATCHES)
NONE_GIVEN = "Either ExactMatch or RegexMatch or LabelMatch must be specified"
SEVERAL_GIVEN = "Only one of ExactMatch, RegexMatch, or LabelMatch can be specified"


class TopologyModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "sh.volcano.topology.v1alpha1"


class ExactMatch(TopologyModel, frozen=True):
    """A member by its name."""

    name: Annotated[str, doc("Name of the node or hyper node.", min_length=1, max_length=253, pattern=_NAME)]


class RegexMatch(TopologyModel, frozen=True):
    """Members by a pattern."""

    pattern: Annotated[str, doc("Regular expression (RE2) that is found in their names.", min_length=1)]


class MemberSelector(TopologyModel, frozen=True):
    """Which nodes, or which other hyper nodes."""

    exact_match: Annotated[ExactMatch | None, doc("The one of this name.")] = None
    regex_match: Annotated[RegexMatch | None, doc("Those whose names match.")] = None
    label_match: Annotated[LabelSelector | None, doc("Nodes with these labels.")] = None


class MemberSpec(TopologyModel, frozen=True):
    """A part of a hyper node."""

    type: Annotated[Literal["Node", "HyperNode"], doc("Whether nodes or other hyper nodes are meant.")]
    selector: Annotated[
        MemberSelector | None,
        doc(
            "Which of them.",
            rules=[
                {"rule": _SOME, "message": NONE_GIVEN},
                {"rule": f"{_COUNT} <= 1", "message": SEVERAL_GIVEN},
            ],
        ),
    ] = None


class HyperNodeSpec(TopologyModel, frozen=True):
    """What a hyper node consists of."""

    tier: Annotated[int, doc("The lower the tier, the faster its nodes reach each other.", minimum=0)]
    tier_name: Annotated[str, doc("Name of the tier.", max_length=253)] = ""
    members: Annotated[list[MemberSpec] | None, doc("Its nodes and hyper nodes.", min_items=1)] = None


class HyperNodeStatus(TopologyModel, frozen=True):
    """What a hyper node is at present."""

    conditions: Annotated[list[Condition] | None, doc("Its state, aspect by aspect.")] = None
    node_count: Annotated[Int64, doc("Nodes that are in it, those of the hyper nodes below it too.", minimum=0)] = 0


class HyperNode(TopologyModel, frozen=True):
    """A part of the network: nodes that are near to each other."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[HyperNodeSpec | None, doc("What it consists of.")] = None
    status: Annotated[HyperNodeStatus | None, doc("What it is at present.")] = None
