"""Golden pairs, and what every controller has to hold from each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeport.components import trainer
from homeport.control import testing
from homeport.control.controller import Controller
from homeport.kube.meta import is_condition_true

CASES = testing.cases(Path(__file__).parent / "cases")
ALL = {controller.name: controller for controller in trainer.CONTROLLERS}
(REPORTING, *_) = trainer.controllers(trainer.Settings(trainer.Reporting("https://kubernetes.default.svc")))


def controller_of(case: testing.Case) -> Controller:
    """By the beginning of the case's name."""
    which = str(case).partition("-")[0]
    named = {"reporting": REPORTING, "coscheduling": ALL["trainjob-coscheduling"], "volcano": ALL["trainjob-volcano"]}
    return named.get(which, ALL["trainjob-controller"])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: testing.Case) -> None:
    testing.check_golden(controller_of(case), case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: testing.Case) -> None:
    controller = controller_of(case)
    start = case.observed(controller)
    testing.check_conformance(controller, start)
    deadline = "deadline" in str(case)
    if any(is_condition_true(start.parent, type) for type in ("Complete", "Failed")) and not deadline:
        testing.check_finished_keeps(controller, start)
