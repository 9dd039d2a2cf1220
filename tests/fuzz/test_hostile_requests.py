"""Single requests that are meant to hurt: each is one that did, or that hurts servers elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from api_testing import Caller, config_map, crd
from judging import still_serves, timely

MAPS = "/api/v1/namespaces/default/configmaps"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
YAML = "application/yaml"
DIGITS = "9" * 5000
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


@pytest.fixture
async def server(api: Caller) -> Caller:
    (await api.post(MAPS, config_map("m", labels={"a": "b"}))).ok(201)
    return api


QUERIES = [
    *(
        f"{MAPS}?{key}={value}"
        for key in ("limit", "resourceVersion", "timeoutSeconds")
        for value in (DIGITS, "-1", "%C2%B2")
    ),
    f"{MAPS}?limit=-{DIGITS}",
    f"{MAPS}?limit=9223372036854775807&timeoutSeconds=9223372036854775807",
    *(f"/api/v1/namespaces/default/pods/p/log?{key}={DIGITS}" for key in ("tailLines", "limitBytes", "sinceSeconds")),
    "/api/v1/namespaces/default/pods/p/log?tailLines=%C2%B2",
    *(
        f"{MAPS}?{kind}={quote(text)}"
        for kind in ("labelSelector", "fieldSelector", "continue")
        for text in (
            "(" * 20_000,
            "!" * 20_000,
            ",".join(["a"] * 20_000),
            "a in (" + "b," * 20_000 + "b)",
            "a=" + "b" * 40_000,
            "a." * 20_000 + "b=c",
            ",".join(["metadata.name=m"] * 3000),
            f"a>{DIGITS}",
            "=" * 100,
            "A" * 40_000,
            "W1tbW1tb" * 5000,  # [[[[[[... to whoever decodes it
            "\u00e9",
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OTIyMzM3MjAzNjg1NDc3NTgwNywic3RhcnQiOiJhL2IiLCJ0IjoxfQ",
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhL2IiLCJ0Ijo5MjIzMzcyMDM2ODU0Nzc1ODA3fQ",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("target", QUERIES, ids=range(len(QUERIES)))
async def test_queries(server: Caller, target: str):
    await timely(server.get(target))


@pytest.mark.parametrize("seconds", [DIGITS, "\u00b2", "-\u00b2", "1e9", "99999999999999999999"])
async def test_grace_periods(server: Caller, seconds: str):
    answer = await timely(server.delete(f"{MAPS}/m?gracePeriodSeconds={quote(seconds)}"))
    assert answer.status == 400


ACCEPTS = [
    "application/json;" * 5000,
    "," * 50_000,
    "application/json;as=Table;v=v1;g=meta.k8s.io," * 1000,
    ";;;;",
    "application/json;as=Table;v=v9;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=Table",
    "a/b" * 1000,
]


@pytest.mark.parametrize("accept", ACCEPTS, ids=range(len(ACCEPTS)))
async def test_accept_headers(server: Caller, accept: str):
    await timely(server.get(MAPS, accept=accept))


@pytest.mark.parametrize(
    "headers",
    [
        {"impersonate-user": ""},
        {"impersonate-user": "x" * 10_000},
        {"impersonate-group": "x"},
        {"impersonate-uid": "x"},
        {"impersonate-user": "system:serviceaccount:::"},
        {"impersonate-user": "x", "impersonate-extra-%zz": "y"},
        {"impersonate-user": "x", "impersonate-extra-%ff%fe": "y"},
        {"impersonate-user": "\u00e9\x01"},
    ],
)
async def test_impersonation(server: Caller, headers: dict[str, str]):
    await timely(server.get(MAPS, headers=headers))


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("depth", [150, 199, 1000, 100_000])
async def test_nesting(server: Caller, depth: int):
    inner = nested(depth).encode()
    whole = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":' + inner + b"}"
    for validation in ("Ignore", "Strict"):
        await timely(server.post(f"{MAPS}?fieldValidation={validation}", whole))
    for media in ("merge-patch", "strategic-merge-patch"):
        await timely(server.call("PATCH", f"{MAPS}/m", inner, content_type=f"application/{media}+json"))
    operations = b'[{"op":"add","path":"/data","value":' + inner + b"}]"
    await timely(server.call("PATCH", f"{MAPS}/m", operations, content_type=JSON_PATCH))
    await timely(server.call("PATCH", f"{MAPS}/m?fieldManager=x", whole, content_type=APPLY))
    await timely(server.delete(f"{MAPS}/absent", inner))
    await still_serves(server)


@pytest.mark.parametrize("start", [b"[", b"{a: ", b"- ", b"? ", b"!!seq [", b"&a ["])
async def test_nested_yaml(server: Caller, start: bytes):
    """The parser in C goes as deep as the document says, beyond the end of the stack."""
    for depth in (199, 1000, 100_000):
        await timely(server.post(MAPS, start * depth, content_type=YAML))
    await timely(server.call("PATCH", f"{MAPS}/m?fieldManager=x", start * 100_000, content_type=APPLY))
    await still_serves(server)


def bombs() -> Iterator[bytes]:
    def layers(first: bytes, layer: bytes) -> bytes:
        names = b"abcdefghijklmnop"
        rows = [b"a: &a " + first]
        for above, name in pairwise(names):
            rows.append(b"%c: &%c " % (name, name) + layer % b",".join([b"*%c" % above] * 9))
        return b"\n".join(rows)

    yield layers(b"[x]", b"[%s]")
    yield layers(b"{a: b}", b"{<<: [%s]}")
    yield (
        b"a: &a {"
        + b",".join(b"k%d: 1" % i for i in range(2000))
        + b"}\nb: {<<: ["
        + b",".join([b"*a"] * 20_000)
        + b"]}"
    )
    yield b"a: &a {<<: [*a,*a]}"
    yield b"&a [*a]"
    yield b"&a {*a : 1}"


@pytest.mark.parametrize("bomb", [*bombs()], ids=range(6))
async def test_yaml_bombs(server: Caller, bomb: bytes):
    answer = await timely(server.post(MAPS, bomb, content_type=YAML))
    assert answer.status in (400, 422)


ODD_YAML = [
    "!!python/object/apply:os.system [x]", "!!set {a}", "!!omap [a: b]", "!!int 'x'", "!!float 'y'", "!!bool z",
    "!!null {}", "!!int ''", "a: !!int", "a: !!int '_'", "a: !!int '-'", "a: !!float '_'", "a: !!float '.'",
    "a: !!map x", "a: !!seq x", "a: !!str [x]", "a: !!bool [x]",
    "a: !!timestamp [x]", "a: !!binary {a: b}", "a: !nope x",
    "a: " + "1" * 5000, "a: 0x" + "f" * 100_000, "a: 0b" + "1" * 1_000_000, "a: " + "1:" * 50_000 + "1",
    "a: .inf", "a: .nan", "a: 1e999", "1e400: a", ".nan: b", "a: 2001-99-99", "? [a]\n: b", "? {a: b}\n: c",
    "%YAML 9.9\n---\na: b", "a: b\n---\nc: d", "a: \"\\ud800\"", "a: \"\\x00\"", "<<: x", "a: =", "= : =", "a: *b",
    "a: -0x", "? ~\n: 1", "a: ~:", "\x00", "\t- a", "--- |", "a: |1000000000\n b",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_YAML, ids=range(len(ODD_YAML)))
async def test_odd_yaml(server: Caller, text: str):
    await timely(server.post(MAPS, text.encode(), content_type=YAML))
    rest = text.replace("\n", "\n  ")
    applied = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata:\n  {rest}\n"
    await timely(server.call("PATCH", f"{MAPS}/m?fieldManager=x", applied.encode(), content_type=APPLY))


async def test_times_of_the_day_are_text(server: Caller):
    made = await server.post(MAPS, b"metadata: {name: t}\ndata: {a: 12:30, b: 1:2:3}", content_type=YAML)
    assert made.ok(201)["data"] == {"a": "12:30", "b": "1:2:3"}


NUMBERS = [
    "1e999999999",
    "-1e999999999",
    "1e-999999999",
    "1" * 5000,
    "0." + "1" * 100_000,
    "1" * 1_000_000,
    "1e400",
    "NaN",
]


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
async def test_numbers(server: Caller, number: str):
    head = '{"metadata":{"name":"n"},'
    for value in (number, f'"{number}"', f'"{number}Ki"', f'"{number}%"'):
        for path, rest in (
            (MAPS, f'"data":{{"a":{value}}}}}'),
            (QUOTAS, f'"spec":{{"hard":{{"pods":{value}}}}}}}'),
            (
                DEPLOYMENTS,
                f'"spec":{{"replicas":{value},"strategy":{{"rollingUpdate":{{"maxSurge":{value}}}}},'
                '"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":'
                f'[{{"name":"c","image":"i","resources":{{"limits":{{"cpu":{value}}}}}}}]}}}}}}}}',
            ),
        ):
            await timely(server.post(f"{path}?dryRun=All", (head + rest).encode()))
        await timely(server.delete(f"{MAPS}/absent", f'{{"gracePeriodSeconds":{value}}}'.encode()))
        meta = f'{{"metadata":{{"generation":{value},"annotations":{{"x":{value}}}}}}}'.encode()
        await timely(server.call("PATCH", f"{MAPS}/m", meta, content_type="application/merge-patch+json"))


async def test_percentages(server: Caller):
    spec: Any = {
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": f"{DIGITS}%", "maxUnavailable": f"{DIGITS}%"},
        },
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }
    answer = await timely(server.post(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec}))
    answer.error(422, "Invalid", "must not be greater than 100%")


def json_patches() -> Iterator[list[dict[str, Any]]]:
    empty: dict[str, Any] = {"op": "add", "path": "/d", "value": {}}
    yield [
        {"op": "add", "path": "/metadata/finalizers", "value": ["a/b"]},
        {"op": "test", "path": f"/metadata/finalizers/{DIGITS}", "value": 1},
    ]
    yield [{"op": "add", "path": "/a" * 200_000, "value": 1}]
    yield [empty, *({"op": "add", "path": "/d" * n, "value": {}} for n in range(2, 3000))]
    yield [{"op": "add", "path": "/d", "value": {"x": {}}}, *[{"op": "copy", "from": "/d", "path": "/d/x"}] * 9000]
    deeper = [{"op": "move", "from": "/d", "path": "/e"}, empty, {"op": "move", "from": "/e", "path": "/d/x"}]
    yield [empty, *deeper * 3300]
    yield [empty, *deeper * 3300, {"op": "copy", "from": "/d", "path": "/f"}]
    yield [{"op": "add", "path": "/d", "value": [0] * 500_000}, *[{"op": "add", "path": "/d/0", "value": 0}] * 9990]
    yield [{"op": "add", "path": "/d", "value": [0] * 500_000}, *[{"op": "remove", "path": "/d/0"}] * 9990]
    yield [{"op": "add", "path": "/data", "value": {str(n): "" for n in range(20_000)}}] + [
        {"op": "copy", "from": "/data", "path": "/y"}
    ] * 9000
    many = {str(n): "x" * 10 for n in range(50_000)}
    yield [{"op": "add", "path": "/data", "value": many}] + [{"op": "test", "path": "/data", "value": {}}] * 9000
    yield [{"op": "test", "path": "", "value": None}] * 10_001
    yield [{"op": "add", "path": "/d", "value": [[]] * 300}] + [
        {"op": "copy", "from": "/d", "path": "/q"},
        {"op": "add", "path": "/d/0/-", "value": 0},
    ] * 4000


@pytest.mark.parametrize("patch", [*json_patches()], ids=range(12))
async def test_json_patches(server: Caller, patch: list[dict[str, Any]]):
    answer = await timely(server.patch(f"{MAPS}/m", patch, "json"))
    assert answer.status in (400, 413, 422)
    await still_serves(server)


ENTRY = {"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"}
MANAGED: list[Any] = [
    [None],
    "x",
    [[[]]],
    [{}],
    *(
        [{**ENTRY, "fieldsV1": fields}]
        for fields in (
            {"f:a": {"f:b": None}},
            {"k:{bad": {}},
            {"k:[1]": {}},
            {"f:metadata": {"f:ownerReferences": {"k:1": {}}}},
            {"v:" + "[" * 5000: {}, "i:x": {}, "f:": {}, "": {}, ".": {"f:x": {}}},
            {"v:" + "[" * 900 + "]" * 900: {}},
            {"v:" + "[" * 50_000 + "]" * 50_000: {}},
            {"v:" + DIGITS: {}, "i:" + DIGITS: {}},
            {"v:1e999": {}},
        )
    ),
    [{**ENTRY, "apiVersion": "nope/v9", "time": "x", "fieldsV1": {"f:data": {}}}],
]


@pytest.mark.parametrize("entries", MANAGED, ids=range(len(MANAGED)))
async def test_managed_fields(server: Caller, entries: Any):
    await timely(server.post(f"{MAPS}?dryRun=All", config_map("n", managedFields=entries)))
    await timely(server.put(f"{MAPS}/m", config_map("m", managedFields=entries)))
    await timely(server.patch(f"{MAPS}/m", {"metadata": {"managedFields": entries}}))
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"q": "1"}}
    await timely(server.patch(f"{MAPS}/m?fieldManager=q", applied, "apply"))
    await timely(server.patch(f"{MAPS}/m?fieldManager=q&force=true", applied, "apply"))


@pytest.mark.parametrize("text", ["[" * 100_000, nested(900), "{", "1e999", nested(150)])
async def test_what_kubectl_says_it_applied_before(server: Caller, text: str):
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": text}
    (await server.put(f"{MAPS}/m?fieldManager=other", config_map("m", annotations=annotations))).ok()
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "2"}}
    await timely(server.patch(f"{MAPS}/m?fieldManager=kubectl", applied, "apply"))


METADATA: list[Any] = [
    None, [], "x", 1, {"name": None}, {"name": 1}, {"name": []}, {"name": {"a": 1}}, {"name": "m", "namespace": 1},
    {"name": "m", "uid": 1}, {"name": "m", "resourceVersion": 5}, {"name": "m", "creationTimestamp": "x"},
    {"name": "m", "deletionTimestamp": "x"}, {"name": "m", "deletionGracePeriodSeconds": 10**30},
    {"name": "m", "generation": 10**30}, {"name": "m", "labels": [1]}, {"name": "m", "labels": {"a": None}},
    {"name": "m", "annotations": {"a": None}}, {"name": "m", "finalizers": [None]},
    {"name": "m", "ownerReferences": [None]}, {"name": "m", "selfLink": []}, {"generateName": "x" * 100_000},
    {"name": "x" * 100_000}, {"name": "m", "labels": {f"k{n}": "v" for n in range(50_000)}},
    {"name": "m", "annotations": {"a": "x" * 300_000}}, {"name": "m", "finalizers": [f"a/b{n}" for n in range(20_000)]},
]  # fmt: skip


@pytest.mark.parametrize("metadata", METADATA, ids=range(len(METADATA)))
async def test_metadata(server: Caller, metadata: Any):
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    await timely(server.post(f"{MAPS}?dryRun=All", whole))
    await timely(server.put(f"{MAPS}/m?dryRun=All", whole))
    for kind in ("merge", "strategic"):
        await timely(server.patch(f"{MAPS}/m?dryRun=All", {"metadata": metadata}, kind))
    await timely(server.patch(f"{MAPS}/m?dryRun=All&fieldManager=x", whole, "apply"))


DIRECTIVES: list[Any] = [
    {"$patch": "x"}, {"$patch": "delete"}, {"$retainKeys": 1}, {"metadata": {"$patch": "replace"}}, {"data": []},
    {"metadata": {"finalizers": [{"$patch": "delete"}]}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": [{}]}},
    {"$setElementOrder/x": [1]}, {"metadata": {"ownerReferences": [{"$patch": "delete"}, None]}},
    {"metadata": {"$setElementOrder/ownerReferences": [{"uid": "x"}, 1, None]}}, {"data": {"$patch": "merge"}},
    {"$deleteFromPrimitiveList/": 1}, {"$setElementOrder/": {}}, {"metadata": {"$retainKeys": ["name", 1, None]}},
]  # fmt: skip


@pytest.mark.parametrize("patch", DIRECTIVES, ids=range(len(DIRECTIVES)))
async def test_directives_of_strategic_patches(server: Caller, patch: Any):
    await timely(server.patch(f"{MAPS}/m?dryRun=All", patch, "strategic"))


@pytest.mark.parametrize("text", ["\\ud800", "\\u0000", "\\udfff\\ud800", "\\uffff"])
@pytest.mark.parametrize("media", ["application/json", YAML])
async def test_odd_characters(server: Caller, text: str, media: str):
    body = f'{{"metadata":{{"name":"odd","annotations":{{"a":"{text}"}}}},"data":{{"a":"{text}"}}}}'.encode()
    await timely(server.post(MAPS, body, content_type=media))
    await timely(server.post(MAPS, f'{{"metadata":{{"name":"{text}"}}}}'.encode(), content_type=media))
    await timely(server.get(MAPS))
    await timely(server.get(MAPS, accept=YAML))


PATHS = [
    "//", "/api//v1", "/api/v1/namespaces/%2e%2e/pods", f"/api/v1/namespaces/{'x' * 20_000}/pods",
    "/apis/" + "a/" * 20_000,
    "/openapi/v3/../x", f"/openapi/v3/{'x' * 1000}", f"{MAPS}/m/status/x/y", "/api/v1/proxy", "/apis/%C3%A9/v1/x",
    "/healthz/..", "/logs", "/api/v1/namespaces/default/pods/x/proxy/" + "a" * 1000, "/api/v1/nodes/x/proxy/..",
    "/api/v1/namespaces/default/services/a:b:c/proxy/", "/api/v1/namespaces/default/services/https:a:99999999/proxy/",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
async def test_paths(server: Caller, path: str):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT", "BREW"):
        await timely(server.call(method, path))


@pytest.mark.parametrize(
    "schedule", ["@every " + "1" * 2_000_000, "1" * 100_000 + " * * * *", "*/0 * * * *", "@every 1e9h"]
)
async def test_schedules(server: Caller, schedule: str):
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
    body = {"metadata": {"name": "c"}, "spec": {"schedule": schedule, "jobTemplate": template}}
    answer = await timely(server.post("/apis/batch/v1/namespaces/default/cronjobs", body))
    answer.error(422, "Invalid", "spec.schedule")


@pytest.mark.parametrize(
    "path",
    [".spec" + "..*" * 12, ".spec..[?(@..a)]..[?(@..[?(@..b)])]", ".spec" + "[*,*,*,*]" * 12, "." + "a." * 9000 + "b"],
)
async def test_printer_columns_that_look_at_everything(server: Caller, path: str):
    """Each ``..`` would multiply what is looked at."""
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    column = {"name": "All", "type": "string", "jsonPath": path}
    definition = crd(schema=schema, additionalPrinterColumns=[column])
    answer = await timely(server.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition))
    if answer.status != 201:
        return
    spec: Any = {"a": 1}
    for _ in range(100):
        spec = {"a": [spec, 1]}
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    (await timely(server.post(widgets, widget))).ok(400)
    for _ in range(60):
        spec = spec["a"][0]
    (await timely(server.post(widgets, widget | {"spec": spec}))).ok(201)
    (await timely(server.get(widgets, accept="application/json;as=Table;v=v1;g=meta.k8s.io"))).ok()
