"""All that is wrong with an object is said in one answer, and whatever is wrong, there is one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from api_testing import Caller, pod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import identity, sample

from homeport.kube import core

PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def said(body: Any) -> list[tuple[str, str]]:
    return [(cause["field"], cause["message"]) for cause in body["details"]["causes"]]


async def test_everything_wrong_with_a_pod(api: Caller) -> None:
    ports = [{"containerPort": 80, "name": "http"}, {"containerPort": 81, "name": "http"}, {}]
    wrong = pod(
        "P", restartPolicy="Sometimes", containers=[{"name": "Bad_", "image": "x", "ports": ports, "env": [{}]}]
    )
    body = (await api.post(PODS, wrong)).error(
        422, "Invalid", 'Pod "P" is invalid: [metadata.name: Invalid value: "P": '
    )
    assert [path for path, _ in said(body)] == [
        "metadata.name",
        "spec.restartPolicy",
        "spec.containers[0].name",
        "spec.containers[0].ports[1].name",
        "spec.containers[0].ports[2].containerPort",
        "spec.containers[0].env[0].name",
    ]
    assert said(body)[1:4] == [
        ("spec.restartPolicy", 'Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'),
        ("spec.containers[0].name", f'Invalid value: "Bad_": {LABEL}'),
        ("spec.containers[0].ports[1].name", 'Duplicate value: "http"'),
    ]
    assert body["message"].endswith("spec.containers[0].env[0].name: Required value]")


@pytest.mark.parametrize("spec", [{}, {"spec": {}}, {"spec": {"template": {}}}, {"spec": {"template": {"spec": {}}}}])
async def test_what_is_left_out_is_there_as_nothing(api: Caller, spec: Any) -> None:
    body = (await api.post(DEPLOYMENTS, {"metadata": {"name": "d"}, **spec})).error(422, "Invalid")
    assert said(body) == [
        ("spec.selector", "Required value"),
        ("spec.template.metadata.labels", "Invalid value: null: `selector` does not match template `labels`"),
        ("spec.template.spec.containers", "Required value"),
    ]


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        (
            {},
            [
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                'spec.capacity: Unsupported value: {}: supported values: "storage"',
                "spec: Required value: must specify a volume type",
            ],
        ),
        (
            {
                "accessModes": ["ReadWriteOncePod", "ReadWriteMany"],
                "capacity": {"storage": "0"},
                "local": {"path": "/x"},
                "nfs": {"server": "s", "path": "/"},
            },
            [
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                'spec.capacity[storage]: Invalid value: "0": must be greater than zero',
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ],
        ),
    ],
)
async def test_what_is_wrong_with_a_persistent_volume(api: Caller, spec: Any, errors: list[str]) -> None:
    body = (await api.post("/api/v1/persistentvolumes", {"metadata": {"name": "v"}, "spec": spec})).error(
        422, "Invalid"
    )
    assert [f"{path}: {message}" for path, message in said(body)] == errors


async def test_where_a_persistent_volume_keeps_its_data_stays(api: Caller) -> None:
    volume = sample(core.PERSISTENT_VOLUME)
    path = f"/api/v1/persistentvolumes/{volume['metadata']['name']}"
    (await api.post("/api/v1/persistentvolumes", volume)).ok(201)
    moved = await api.patch(path, {"spec": {"hostPath": {"path": "/elsewhere"}, "volumeMode": "Block"}})
    moved.error(422, "Invalid", "spec.persistentvolumesource is immutable after creation", "spec.volumeMode: Invalid")
    (await api.patch(path, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})).ok()


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all fields and list items in `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inner for place in ((*path, key), *_places(item, (*path, key)))]


def _spoilt(obj: Any, path: tuple[Any, ...], how: Any) -> Any:
    """A copy of `obj` where what is at `path` is left out, or another value of its type; `obj` if nothing is there."""
    if not path:
        return next((value for value in how if type(value) is type(obj)), obj)
    first, *rest = path
    has = first in obj if isinstance(obj, dict) else isinstance(obj, list) and first < len(obj)
    if not has:
        return obj
    result = copy.copy(obj)
    if not rest and how is None:
        del result[first]
    else:
        result[first] = _spoilt(result[first], tuple(rest), how)
    return result


WRONG = ("Wrong Word/", -1, True, {}, [])
EMPTY = ("", 0, False, {}, [])
KINDS = {identity(kind): kind for kind in core.KINDS}
CASES = st.sampled_from(sorted(KINDS)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.lists(st.sampled_from(_places(sample(KINDS[name]))), min_size=1, max_size=4),
        st.sampled_from([None, WRONG, EMPTY]),
    )
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CASES)
async def test_spoilt_objects_of_every_kind_are_judged(api: Caller, case: tuple[str, list[Any], Any]) -> None:
    name, paths, how = case
    kind = KINDS[name]
    body = sample(kind)
    for path in paths:
        body = _spoilt(body, path, how)
    answer = await api.post(f"{kind.resource.path(namespace='default')}?dryRun=All", body)
    assert answer.status in (201, 400, 403, 404, 409, 422), (body, answer.body)
    if answer.status == 422:
        fields = [cause["field"] for cause in answer.json["details"].get("causes", [])]
        assert fields, answer.body
        assert all(fields), answer.body
