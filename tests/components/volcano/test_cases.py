"""Golden pairs (see `homeport.control.testing`), and the rules of every controller from where they start."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from homeport.components.volcano import CONTROLLERS
from homeport.control.controller import Controller
from homeport.control.testing import Case, cases, check_conformance, check_golden

CASES = cases(Path(__file__).parent / "cases")


def controller(case: Case) -> Controller:
    parent = yaml.safe_load(case.path.read_text())["parent"]
    address = parent["apiVersion"], parent["kind"]
    return next(c for c in CONTROLLERS if (c.parent.api_version, c.parent.kind) == address)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    check_golden(controller(case), case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: Case) -> None:
    check_conformance(controller(case), case.observed(controller(case)))
