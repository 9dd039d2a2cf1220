"""What terms of node affinity mean."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.kube.core import node_terms

LABELS = {"zone": "a", "cores": "8"}


def term(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


@pytest.mark.parametrize(
    ("expressions", "fields", "met"),
    [
        ((), (), False),
        ((term("zone", "In", "a", "b"),), (), True),
        ((term("zone", "NotIn", "a"),), (), False),
        ((term("rack", "DoesNotExist"), term("zone", "Exists")), (), True),
        ((term("cores", "Gt", "7"),), (), True),
        ((term("cores", "Lt", "8"),), (), False),
        ((term("zone", "Near", "a"),), (), False),
        ((), (term("metadata.name", "In", "one"),), True),
        ((), (term("metadata.name", "NotIn", "one"),), False),
        ((term("zone", "In", "b"),), (term("metadata.name", "In", "one"),), False),
    ],
)
def test_whether_a_node_meets_a_term(expressions: Any, fields: Any, met: bool) -> None:
    asked = {"matchExpressions": list(expressions), "matchFields": list(fields)}
    assert node_terms.matches(asked, LABELS, "one") is met
