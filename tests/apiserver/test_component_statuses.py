"""``componentstatuses``, and what else is deprecated and says so."""

from __future__ import annotations

from api_testing import Caller, pod

from homeport.apiserver.health import Check, Unhealthy

STATUSES = "/api/v1/componentstatuses"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
DEPRECATED = '299 - "v1 ComponentStatus is deprecated in v1.19+"'


async def well() -> None:
    """Nothing is wrong."""


async def ill() -> None:
    raise Unhealthy("out of order")


async def test_the_parts_of_the_control_plane(api: Caller) -> None:
    api.server.components["scheduler"] = Check("scheduler", well)
    api.server.components["controller-manager"] = Check("controllers", ill)
    answer = await api.get(STATUSES)
    assert answer.headers["warning"] == DEPRECATED
    items = answer.ok()["items"]
    conditions = {item["metadata"]["name"]: item["conditions"] for item in items}
    wrong = {"type": "Healthy", "status": "False", "message": "out of order", "error": "out of order"}
    fine = {"type": "Healthy", "status": "True", "message": "ok"}
    assert conditions == {"scheduler": [fine], "controller-manager": [wrong], "etcd-0": [fine]}
    rows = (await api.get(STATUSES, accept=TABLE)).ok()["rows"]
    assert [row["cells"] for row in rows][:2] == [
        ["scheduler", "Healthy", "ok", ""],
        ["controller-manager", "Unhealthy", "out of order", "out of order"],
    ]
    chosen = (await api.get(f"{STATUSES}?fieldSelector=metadata.name%3Detcd-0")).ok()["items"]
    assert [item["metadata"]["name"] for item in chosen] == ["etcd-0"]


async def test_one_part(api: Caller) -> None:
    one = (await api.get(f"{STATUSES}/etcd-0")).ok()
    assert (one["kind"], one["metadata"]["name"], one["conditions"][0]["status"]) == (
        "ComponentStatus",
        "etcd-0",
        "True",
    )
    assert (await api.get(f"{STATUSES}/scheduler")).ok()["conditions"][0]["status"] == "False"
    (await api.get(f"{STATUSES}/kubelet")).error(404, "NotFound", 'componentstatuses "kubelet" not found')
    (await api.post(STATUSES, one)).error(405, "MethodNotAllowed")
    found = {entry["name"]: entry for entry in (await api.get("/api/v1")).ok()["resources"]}["componentstatuses"]
    assert (found["shortNames"], found["verbs"], found["namespaced"]) == (["cs"], ["get", "list"], False)


async def test_endpoints_are_deprecated(api: Caller) -> None:
    words = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    path = "/api/v1/namespaces/default/endpoints"
    assert (await api.get(path)).headers["warning"] == words
    assert (await api.post(path, {"metadata": {"name": "e"}})).headers["warning"] == words
    assert (await api.get(f"{path}/e")).headers["warning"] == words
    assert "warning" not in (await api.post("/api/v1/namespaces/default/pods", pod("p"))).headers
