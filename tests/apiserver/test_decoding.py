"""Bodies and patches that are no object of the kind: what Go's decoder cannot read is refused before anything judges
it, in its words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_testing import Caller, config_map, crd, pod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.kube.meta import Object

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SERVICES = "/api/v1/namespaces/default/services"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
QUANTITY = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def deployment(name: str, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def containers(**fields: Any) -> Object:
    return {"containers": [{"name": "c", "image": "i", **fields}]}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"containers": "x"},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        ("x", "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec"),
        (
            containers(name=5),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string",
        ),
        (
            containers(ports=[{"containerPort": "80"}]),
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of "
            "type int32",
        ),
        (
            containers(livenessProbe={"httpGet": {"port": True}}),
            "json: cannot unmarshal bool into Go struct field "
            "HTTPGetAction.spec.containers.livenessProbe.httpGet.port of type int32",
        ),
        (containers(resources={"limits": {"cpu": "lots"}}), QUANTITY),
        (containers(resources={"limits": {"cpu": {}}}), QUANTITY),
        (
            containers() | {"nodeSelector": {"a": True}},
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        (
            containers() | {"priority": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            containers() | {"priority": 2**31},
            "json: cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority of type int32",
        ),
        # The first wrong value is told; but where a type reads itself, the decoder stops at once.
        (
            containers(image=1, tty="x"),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ),
        (containers(image=1, resources={"limits": {"cpu": "lots"}}), QUANTITY),
    ],
)
async def test_what_is_no_pod_is_refused_in_the_decoders_words(api: Caller, spec: Any, words: str) -> None:
    body = (await api.post(PODS, pod("p") | {"spec": spec})).error(400, "BadRequest")
    assert body["message"] == f'Pod in version "v1" cannot be handled as a Pod: {words}'
    assert "details" not in body


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (DEPLOYMENTS, deployment("d", replicas="3"), "DeploymentSpec.spec.replicas of type int32"),
        ("/api/v1/namespaces/default/secrets", {"data": {"a": "x"}}, "illegal base64 data at input byte 0"),
        ("/api/v1/namespaces/default/secrets", {"data": {"a": "aa-a"}}, "illegal base64 data at input byte 2"),
        (
            LEASES,
            {"spec": {"renewTime": "now"}},
            'parsing time "now" as "2006-01-02T15:04:05.000000Z07:00": cannot',
        ),
        (
            LEASES,
            {"spec": {"renewTime": "2026-01-02T03:04:05Z"}},
            'parsing time "2026-01-02T03:04:05Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"',
        ),
        (MAPS, {"metadata": {"creationTimestamp": "2026-13-01T00:00:00Z"}}, "month out of range"),
        (CRDS, {"spec": {"versions": "v1"}}, "CustomResourceDefinitionSpec.spec.versions of type []v1."),
        (CRDS, {"spec": {"names": {"shortNames": 5}}}, "spec.names.shortNames of type []string"),
    ],
)
@pytest.mark.parametrize("mode", ["Ignore", "Strict"])
async def test_types_with_decoders_of_their_own(api: Caller, path: str, body: Object, words: str, mode: str) -> None:
    (await api.post(f"{path}?fieldValidation={mode}", body)).error(400, "BadRequest", "cannot be handled as a", words)


async def test_what_go_reads_is_stored_as_go_writes_it(api: Caller) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-02T03:04:05.123456+02:00"}}
    assert (await api.post(LEASES, lease)).ok(201)["spec"]["renewTime"] == "2026-01-02T01:04:05.123456Z"
    made = (await api.post(PODS, pod("p", **containers(command=[None, "x"], args=None)))).ok(201)
    assert made["spec"]["containers"][0]["command"] == ["", "x"]
    yaml = b"metadata: {name: d}\nspec: {replicas: 2.0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: \
{a: b}}, spec: {containers: [{name: c, image: i}]}}}\n"
    assert (await api.post(DEPLOYMENTS, yaml, content_type="application/yaml")).ok(201)["spec"]["replicas"] == 2


async def test_metadata_of_custom_resources_is_a_struct_too(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "labels": {"a": 1}}}
    words = 'Widget in version "v1" cannot be handled as a Widget: json: cannot unmarshal number into Go struct field '
    (await api.post(WIDGETS, widget)).error(400, "BadRequest", words + "ObjectMeta.labels of type string")
    refused = await api.post(WIDGETS, {**widget, "metadata": {"name": "w"}, "spec": {"size": "big"}})
    refused.error(422, "Invalid", 'spec.size in body must be of type integer: "string"')


@pytest.mark.parametrize(
    ("type", "patch", "words"),
    [
        ("merge", {"spec": {"replicas": "3"}}, "into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (
            "json",
            [{"op": "replace", "path": "/spec/replicas", "value": "3"}],
            "DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "strategic",
            {"spec": {"replicas": "3"}},
            ' "" is invalid: patch: Invalid value: "map[spec:map[replicas:3]]": unrecognized type: int32',
        ),
        (
            "strategic",
            {"spec": {"template": ["a", None, 1]}},
            '"map[spec:map[template:[a <nil> 1]]]": cannot restore struct from: slice',
        ),
        ("strategic", {"metadata": {"labels": {"a": 1}}}, "cannot convert int64 to string"),
        ("merge", {"spec": {"template": {"spec": {"overhead": {"cpu": "x"}}}}}, QUANTITY),
    ],
)
async def test_patches_whose_result_is_no_object(api: Caller, type: str, patch: Any, words: str) -> None:
    (await api.post(DEPLOYMENTS, deployment("d"))).ok(201)
    body = (await api.patch(f"{DEPLOYMENTS}/d", patch, type)).error(422, "Invalid", words)
    assert body["message"].startswith(' "" is invalid: patch: Invalid value: ')
    assert [cause["field"] for cause in body["details"]["causes"]] == ["patch"]


@pytest.mark.parametrize("type", ["merge", "strategic"])
async def test_unknown_fields_of_patches(api: Caller, type: str) -> None:
    (await api.post(DEPLOYMENTS, deployment("d"))).ok(201)
    patch = {"spec": {"replica": 3}}
    strict = await api.patch(f"{DEPLOYMENTS}/d?fieldValidation=Strict", patch, type)
    strict.error(422, "Invalid", 'patch: Invalid value: "', 'strict decoding error: unknown field "spec.replica"')
    assert 'unknown field \\"spec.replica\\"' in (await api.patch(f"{DEPLOYMENTS}/d", patch, type)).headers["warning"]
    assert "warning" not in (await api.patch(f"{DEPLOYMENTS}/d?fieldValidation=Ignore", patch, type)).headers


async def test_a_scale_is_read_like_anything_else(api: Caller) -> None:
    (await api.post(DEPLOYMENTS, deployment("d"))).ok(201)
    path, wrong = f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": "3"}}
    words = "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32"
    answer = await api.put(path, {"metadata": {"name": "d"}, **wrong})
    answer.error(400, "BadRequest", f'Scale in version "v1" cannot be handled as a Scale: {words}')
    (await api.patch(path, wrong)).error(422, "Invalid", f": {words}")
    (await api.patch(path, wrong, "strategic")).error(422, "Invalid", '"map[spec:map[replicas:3]]": unrecognized type')
    (await api.patch(path, {"spec": {"replicas": -1}})).error(422, "Invalid", "must be greater than or equal to 0")
    assert (await api.patch(path, {"spec": {"replicas": 3}})).ok()["spec"] == {"replicas": 3}


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"", "application/json", "(<empty>)"),
        (b"{", "application/json", "json parse error: "),
        (b"[" * 40, "application/json", "(5b5b"),
        (b"a: [", "application/yaml", "error converting YAML to JSON: yaml: "),
        (
            b'{"kind":5}',
            "application/json",
            'into Go struct field .kind of type string ({"kind":5})',
        ),
        (b'{"apiVersion":["v1"],"kind":"ConfigMap"}', "application/json", "Go struct field .apiVersion of type string"),
    ],
)
async def test_what_does_not_say_what_it_is(api: Caller, body: bytes, content_type: str, words: str) -> None:
    for answer in (
        await api.post(MAPS, body, content_type=content_type),
        await api.put(f"{MAPS}/m", body, content_type=content_type),
    ):
        prefix = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; "
        answer.error(400, "BadRequest", prefix, words)


async def test_objects_of_other_kinds(api: Caller) -> None:
    words = 'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap)'
    (await api.post(MAPS, config_map("m") | {"kind": "Secret"})).error(400, "BadRequest", words)
    (await api.post(CRDS, crd())).ok(201)
    other = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "w"}}
    words = 'Widget.example.com "w" is invalid: kind: Invalid value: "Gadget": must be Widget'
    (await api.post(WIDGETS, other)).error(422, "Invalid", words)


async def test_patches_of_the_type(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    other = await api.patch(f"{MAPS}/m", {"kind": "Secret"})
    other.error(422, "Invalid", ' "" is invalid: patch: Invalid value: ', "unknown conversion")
    (await api.patch(f"{MAPS}/m", {"apiVersion": "v2"})).error(422, "Invalid", "patch: Invalid value")
    (await api.patch(f"{MAPS}/m", {"kind": 5})).error(422, "Invalid", "Go struct field .kind of type string")
    kept = (await api.patch(f"{MAPS}/m", {"kind": "Secret", "data": {"b": "2"}}, "strategic")).ok()
    assert (kept["kind"], kept["data"]) == ("ConfigMap", {"a": "1", "b": "2"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WHOLE: dict[str, Object] = {
    PODS: pod(
        "p",
        **containers(
            ports=[{"containerPort": 80, "name": "http"}],
            env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            resources={"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
            volumeMounts=[{"name": "v", "mountPath": "/v"}],
            livenessProbe={"httpGet": {"port": 80}},
            lifecycle={"preStop": {"exec": {"command": ["x"]}}},
            securityContext={"capabilities": {"add": ["X"]}},
        ),
        volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
        tolerations=[{"key": "k", "operator": "Exists"}],
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}},
        dnsConfig={"nameservers": ["1.1.1.1"], "options": [{"name": "x"}]},
        securityContext={"sysctls": [{"name": "a", "value": "b"}]},
        topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}],
        initContainers=[{"name": "i", "image": "i"}],
        hostAliases=[{"ip": "1.1.1.1", "hostnames": ["a"]}],
    ),
    DEPLOYMENTS: deployment("d", strategy={"rollingUpdate": {"maxSurge": 1}}, replicas=1),
    SERVICES: {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": "x"}], "selector": {"a": "b"}}},
    MAPS: config_map("m", labels={"a": "b"}, annotations={"a": "b"}, ownerReferences=[], finalizers=["a.b/c"]),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that is in `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, item in inner for place in places(item, (*path, key))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


BODIES = st.sampled_from([(target, place) for target, whole in WHOLE.items() for place in places(whole)])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, JSON, st.sampled_from(["", "Strict", "Ignore"]))
async def test_any_json_gets_an_answer(api: Caller, where: tuple[str, tuple[Any, ...]], value: Any, mode: str) -> None:
    target, place = where
    body = replaced(WHOLE[target], place, value)
    answer = await api.post(f"{target}?dryRun=All&fieldValidation={mode}", body)
    assert answer.status in (201, 400, 403, 409, 422), answer.body
    if answer.status != 201:
        assert answer.json["kind"] == "Status"


def _nested(place: tuple[Any, ...], value: Any) -> Any:
    """`value` at a place of otherwise empty containers."""
    for key in reversed(place):
        value = {key: value} if isinstance(key, str) else [value]
    return value


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, JSON, st.sampled_from(["merge", "strategic", "json", "apply"]))
async def test_any_patch_gets_an_answer(api: Caller, where: tuple[str, tuple[Any, ...]], value: Any, type: str) -> None:
    target, place = where
    whole = WHOLE[target]
    name = whole["metadata"]["name"]
    await api.post(target, whole)
    match type:
        case "json":
            body: Any = [{"op": "replace", "path": "".join(f"/{key}" for key in place), "value": value}]
        case "apply":
            body = replaced({"apiVersion": "v1", "kind": "Pod", **whole}, place, value)
        case _:
            body = _nested(place, value)
    query = "&fieldManager=m&force=true" if type == "apply" else ""
    answer = await api.patch(f"{target}/{name}?dryRun=All{query}", json.dumps(body).encode(), type)
    assert answer.status in (200, 400, 409, 422), answer.body
