"""Whatever a job asks for, and wherever the work on it is interrupted: it comes to the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from shapes import job, patch, stock_runtime

from homeport.components import trainer
from homeport.components.trainer import stock
from homeport.control import testing
from homeport.control.controller import Observed
from homeport.control.freeze import freeze
from homeport.kube.meta import Object

(CONTROLLER, *_) = trainer.CONTROLLERS
STOCK = {name: stock_runtime(name) for name in stock.stock()}

amounts = st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), st.integers(0, 9).map(str), max_size=3)
trainers = st.fixed_dictionaries(
    {},
    optional={
        "numNodes": st.integers(0, 5),
        "numProcPerNode": st.integers(1, 4),
        "command": st.sampled_from([["tune", "run"], ["python", "train.py"]]),
        "args": st.lists(
            st.sampled_from(["model.lora_attn_modules=[q]", "model.quantize_base=True", "--x"]), max_size=2
        ),
        "env": st.just([{"name": "A", "value": "1"}]),
        "elasticPolicy": st.fixed_dictionaries({"minNodes": st.integers(1, 2), "maxNodes": st.integers(2, 4)}),
        "resourcesPerNode": st.fixed_dictionaries({}, optional={"limits": amounts, "requests": amounts}),
    },
)
patches = st.lists(st.sampled_from([{"nodeSelector": {"a": "b"}}, {"containers": [{"name": "node"}]}]), max_size=2)


@st.composite
def starts(draw: st.DrawFn) -> Observed:
    name = draw(st.sampled_from(sorted(STOCK)))
    spec: dict[str, Any] = {"trainer": draw(trainers), "suspend": draw(st.booleans())}
    spec["runtimePatches"] = [patch("node", f"example.com/m{n}", **pod) for n, pod in enumerate(draw(patches))]
    return testing.observed(CONTROLLER, job(name, **spec), related=[STOCK[name]])


@given(starts())
def test_the_rules_of_every_controller_hold(start: Observed) -> None:
    testing.check_conformance(CONTROLLER, start)


@given(starts(), st.data())
def test_an_interruption_anywhere_makes_no_difference(start: Observed, data: st.DataObject) -> None:
    whole = testing.check_settles(CONTROLLER, start)
    current = start
    for _ in range(20):
        following = testing.applied(CONTROLLER, current, CONTROLLER.sync(current))
        if _names(following.children) == _names(current.children):
            break
        new = [key for key in _names(following.children) if key not in _names(current.children)]
        made = set(data.draw(st.lists(st.sampled_from(new), unique=True, min_size=1)))
        current = _only(following, set(_names(current.children)) | made)
    assert testing.check_settles(CONTROLLER, current).children == whole.children


def _names(children: Mapping[str, Mapping[str, Object]]) -> list[tuple[str, str]]:
    return [(kind, name) for kind, group in children.items() for name in group]


def _only(observed: Observed, kept: set[tuple[str, str]]) -> Observed:
    children = {
        kind: {name: obj for name, obj in group.items() if (kind, name) in kept}
        for kind, group in observed.children.items()
    }
    return Observed(observed.parent, freeze(children), observed.related, observed.now)
