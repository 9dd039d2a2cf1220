"""Webhooks over real TLS: who is asked what, in which order, and what becomes of the answers."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from api_testing import Caller, config_map, crd, make_server, namespace, pod
from webhook_testing import (
    MUTATING,
    VALIDATING,
    Authority,
    WebhookServer,
    allow,
    deny,
    mutating,
    patch,
    rule,
    validating,
)

from homeport.store.protocol import Key, Put

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


async def register(api: Caller, *configurations: dict[str, Any]) -> None:
    for configuration in configurations:
        path = MUTATING if configuration["kind"].startswith("Mutating") else VALIDATING
        (await api.post(path, configuration)).ok(201)


def sets(key: str, value: str = "yes") -> dict[str, Any]:
    return {"op": "add", "path": f"/data/{key}", "value": value}


# -- what a webhook is asked


async def test_the_question(api: Caller, hook: WebhookServer) -> None:
    await register(api, validating("v", hook.webhook("/check")))
    made = (await api.post(f"{MAPS}?fieldManager=me", config_map("m"))).ok(201)
    (asked,) = hook.calls("/check")
    assert asked.pop("uid")
    stored = {key: value for key, value in made["metadata"].items() if key != "resourceVersion"}
    assert asked == {
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "m",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {"username": "admin", "groups": ["system:masters"]},
        "object": {**made, "metadata": stored},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"},
    }
    assert hook.seen[0][0] == "/check?timeout=10s"


async def test_update_patch_apply_and_delete_have_the_old_object(api: Caller, hook: WebhookServer) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    await register(api, validating("v", hook.webhook("/check")))
    (await api.put(f"{MAPS}/m", config_map("m", {"a": "2"}))).ok()
    (await api.patch(f"{MAPS}/m", {"data": {"a": "3"}})).ok()
    (await api.patch(f"{MAPS}/m?fieldManager=x&force=true", config_map("m", {"a": "4"}), "apply")).ok()
    (await api.patch(f"{MAPS}/new?fieldManager=x", config_map("new"), "apply")).ok(201)
    (await api.delete(f"{MAPS}/m", {"gracePeriodSeconds": 0})).ok()
    (await api.delete(MAPS)).ok()
    asked = [(r["operation"], r.get("name"), bool(r["object"]), bool(r["oldObject"])) for r in hook.calls("/check")]
    assert asked == [
        ("UPDATE", "m", True, True),
        ("UPDATE", "m", True, True),
        ("UPDATE", "m", True, True),
        ("CREATE", "new", True, False),
        ("DELETE", "m", False, True),
        ("DELETE", None, False, True),
    ]
    kinds = [request["options"]["kind"] for request in hook.calls("/check")]
    assert kinds == ["UpdateOptions"] * 3 + ["CreateOptions"] + ["DeleteOptions"] * 2
    assert hook.calls("/check")[4]["options"]["gracePeriodSeconds"] == 0
    assert [(r["oldObject"]["data"]["a"], r["object"]["data"]["a"]) for r in hook.calls("/check")[:3]] == [
        ("1", "2"),
        ("2", "3"),
        ("3", "4"),
    ]


async def test_subresources_are_asked_about_by_their_own_rules(api: Caller, hook: WebhookServer) -> None:
    everything = [rule("pods/*"), rule("deployments/scale", "tfjobs/*", group="*")]
    await register(api, validating("v", hook.webhook("/sub", rules=everything)))
    (await api.post(PODS, pod("p"))).ok(201)
    binding = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n"}}
    (await api.post(f"{PODS}/p/binding", binding)).ok(201)
    (await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})).ok()
    (await api.post(f"{PODS}/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction"})).ok(201)
    asked = [(r["operation"], r.get("subResource"), r["kind"]["kind"]) for r in hook.calls("/sub")]
    assert asked == [
        ("CREATE", None, "Pod"),
        ("CREATE", "binding", "Binding"),
        ("UPDATE", "status", "Pod"),
        ("CREATE", "eviction", "Eviction"),
    ]


async def test_scale_is_asked_about_as_a_scale(api: Caller, hook: WebhookServer) -> None:
    definition = crd()
    definition["spec"]["versions"][0]["subresources"] = {
        "status": {},
        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
    }
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)).ok(201)
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"replicas": 1}}
    (await api.post(widgets, widget)).ok(201)
    double = [{"op": "replace", "path": "/spec/replicas", "value": 6}]
    hook.on("/scale", lambda request: patch(request, *double))
    await register(api, mutating("m", hook.webhook("/scale", rules=[rule("widgets/scale", group="example.com")])))
    scaled = (await api.patch(f"{widgets}/w/scale", {"spec": {"replicas": 3}})).ok()
    assert scaled["spec"]["replicas"] == 6
    (asked,) = hook.calls("/scale")
    assert asked["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (asked["oldObject"]["spec"]["replicas"], asked["object"]["spec"]["replicas"]) == (1, 3)
    assert (await api.get(f"{widgets}/w")).ok()["spec"]["replicas"] == 6


# -- whom it is asked


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({"objectSelector": {"matchLabels": {"app": "x"}}}, True),
        ({"objectSelector": {"matchLabels": {"app": "y"}}}, False),
        ({"namespaceSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}}, True),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}, False),
        ({"rules": [rule("*")]}, True),
        ({"rules": [rule("*/*")]}, True),
        ({"rules": [rule("*/status")]}, False),
        ({"rules": [rule("configmaps/*")]}, True),
        ({"rules": [rule(operations=("UPDATE", "DELETE"))]}, False),
        ({"rules": [rule(scope="Cluster")]}, False),
        ({"rules": [rule(scope="Namespaced")]}, True),
        ({"rules": [rule(group="apps")]}, False),
        ({"rules": [{**rule(), "apiVersions": ["v2"]}]}, False),
    ],
)
async def test_rules_and_selectors(api: Caller, hook: WebhookServer, more: dict[str, Any], asked: bool) -> None:
    await register(api, validating("v", hook.webhook("/check", **more)))
    (await api.post(MAPS, config_map("m", labels={"app": "x"}))).ok(201)
    assert bool(hook.seen) == asked


async def test_a_namespace_is_selected_by_its_own_labels(api: Caller, hook: WebhookServer) -> None:
    selector = {"matchLabels": {"watched": "yes"}}
    rules = [rule("namespaces", scope="Cluster")]
    await register(api, validating("v", hook.webhook("/ns", rules=rules, namespaceSelector=selector)))
    (await api.post("/api/v1/namespaces", namespace("plain"))).ok(201)
    (
        await api.post(
            "/api/v1/namespaces", {**namespace("w"), "metadata": {"name": "w", "labels": {"watched": "yes"}}}
        )
    ).ok(201)
    assert [request["name"] for request in hook.calls("/ns")] == ["w"]


async def test_another_version_of_the_resource_matches_unless_exact(api: Caller, hook: WebhookServer) -> None:
    definition = crd()
    versions = definition["spec"]["versions"]
    versions.append({**versions[0], "name": "v2", "storage": False})
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)).ok(201)
    rules = [rule("widgets", group="example.com")]
    hook.on("/loose", lambda r: patch(r, {"op": "add", "path": "/spec/size", "value": 7}))
    await register(
        api,
        mutating(
            "m",
            hook.webhook("/exact", rules=rules, matchPolicy="Exact"),
            hook.webhook("/loose", rules=rules, matchPolicy="Equivalent"),
        ),
    )
    widget = {"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}
    made = (await api.post("/apis/example.com/v2/namespaces/default/widgets", widget)).ok(201)
    assert made["apiVersion"] == "example.com/v2"
    assert made["spec"]["size"] == 7
    assert hook.calls("/exact") == []
    (asked,) = hook.calls("/loose")
    assert asked["object"]["apiVersion"] == "example.com/v1"
    assert (asked["resource"]["version"], asked["requestResource"]["version"]) == ("v1", "v2")
    assert (asked["kind"]["version"], asked["requestKind"]["version"]) == ("v1", "v2")


async def test_configurations_are_never_asked_about(api: Caller, hook: WebhookServer) -> None:
    everything = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]
    hook.on("/no", lambda request: deny(request, message="no"))
    await register(api, validating("v", hook.webhook("/no", rules=everything)))
    await register(api, mutating("m", hook.webhook("/no", rules=everything)))
    for path, name in ((VALIDATING, "v"), (MUTATING, "m")):
        (await api.patch(f"{path}/{name}", {"metadata": {"labels": {"a": "b"}}})).ok()
        (await api.delete(f"{path}/{name}")).ok()
    (await api.post(MAPS, config_map("m"))).ok(201)


# -- what becomes of the answer


async def test_mutations_run_in_the_order_of_names_and_see_each_other(api: Caller, hook: WebhookServer) -> None:
    def second(request: dict[str, Any]) -> dict[str, Any]:
        return patch(request, sets("second", request["object"]["data"].get("first", "nobody")))

    hook.on("/a1", lambda r: patch(r, sets("first")))
    hook.on("/b", second)
    await register(api, mutating("b", hook.webhook("/b")), mutating("a", hook.webhook("/a1"), hook.webhook("/a2")))
    made = (await api.post(MAPS, config_map("m", {}))).ok(201)
    assert made["data"] == {"first": "yes", "second": "yes"}
    assert [target.partition("?")[0] for target, _ in hook.seen] == ["/a1", "/a2", "/b"]
    assert (await api.get(f"{MAPS}/m")).ok()["data"] == made["data"]


async def test_an_earlier_webhook_is_asked_again_if_it_wishes_and_a_later_one_changed_something(
    api: Caller, hook: WebhookServer
) -> None:
    hook.on("/late", lambda r: patch(r, sets("late")))
    await register(
        api,
        mutating(
            "m",
            hook.webhook("/again", reinvocationPolicy="IfNeeded"),
            hook.webhook("/never"),
            hook.webhook("/late", reinvocationPolicy="IfNeeded"),
        ),
    )
    (await api.post(MAPS, config_map("m"))).ok(201)
    assert [target.partition("?")[0] for target, _ in hook.seen] == ["/again", "/never", "/late", "/again"]
    assert hook.calls("/again")[1]["object"]["data"]["late"] == "yes"


async def test_defaults_come_after_mutation_and_validation_after_that(api: Caller, hook: WebhookServer) -> None:
    container = {"name": "added", "image": "busybox"}
    hook.on("/pods", lambda r: patch(r, {"op": "add", "path": "/spec/initContainers", "value": [container]}))
    await register(api, mutating("m", hook.webhook("/pods", rules=[rule("pods", operations=("CREATE",))])))
    await register(api, validating("v", hook.webhook("/after", rules=[rule("pods", operations=("CREATE",))])))
    made = (await api.post(PODS, pod("p"))).ok(201)
    (added,) = made["spec"]["initContainers"]
    assert added["terminationMessagePath"] == "/dev/termination-log"
    assert hook.calls("/after")[0]["object"]["spec"]["initContainers"] == [added]
    hook.on("/pods", lambda r: patch(r, {"op": "add", "path": "/spec/containers/0/name", "value": "NOT OK"}))
    (await api.post(PODS, pod("q"))).error(422, "Invalid", "spec.containers[0].name")


async def test_an_update_keeps_what_only_the_server_may_set(api: Caller, hook: WebhookServer) -> None:
    made = (await api.post(MAPS, config_map("m"))).ok(201)
    changes = [
        {"op": "add", "path": "/metadata/uid", "value": "stolen"},
        {"op": "add", "path": "/metadata/labels", "value": {"hooked": "yes"}},
        {"op": "add", "path": "/unknown", "value": 1},
    ]
    hook.on("/m", lambda request: patch(request, *changes))
    await register(api, mutating("m", hook.webhook("/m")))
    changed = (await api.patch(f"{MAPS}/m", {"data": {"a": "2"}})).ok()
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert changed["metadata"]["labels"] == {"hooked": "yes"}
    assert "unknown" not in changed
    fields = json.dumps(changed["metadata"]["managedFields"])
    assert "hooked" not in fields


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({}, 400, "", 'admission webhook "no.example.com" denied the request without explanation'),
        ({"message": "not today"}, 400, "", 'admission webhook "no.example.com" denied the request: not today'),
        ({"reason": "Busy"}, 400, "Busy", 'admission webhook "no.example.com" denied the request: Busy'),
        (
            {"message": "never", "code": 403, "reason": "Forbidden"},
            403,
            "Forbidden",
            'admission webhook "no.example.com" denied the request: never',
        ),
        ({"code": 200, "status": "Success"}, 400, "", "without explanation"),
    ],
)
@pytest.mark.parametrize("make", [mutating, validating])
async def test_a_denial(
    api: Caller, hook: WebhookServer, make: Any, status: Any, code: int, reason: str, message: str
) -> None:
    hook.on("/no", lambda request: deny(request, **status))
    await register(api, make("c", hook.webhook("/no")))
    answer = await api.post(MAPS, config_map("m"))
    assert (answer.status, answer.json["code"], answer.json.get("reason", "")) == (code, code, reason)
    assert answer.json["status"] == "Failure"
    assert message in answer.json["message"]
    (await api.get(f"{MAPS}/m")).error(404, "NotFound")


async def test_a_deletion_that_is_denied_deletes_nothing(api: Caller, hook: WebhookServer) -> None:
    for name in ("a", "b", "c"):
        (await api.post(MAPS, config_map(name))).ok(201)

    def keep_b(request: dict[str, Any]) -> dict[str, Any]:
        is_b = request["oldObject"]["metadata"]["name"] == "b"
        return deny(request, message="b stays", code=403, reason="Forbidden") if is_b else allow(request)

    hook.on("/del", keep_b)
    await register(api, validating("v", hook.webhook("/del", rules=[rule(operations=("DELETE",))])))
    (await api.delete(f"{MAPS}/b")).error(403, "Forbidden", "b stays")
    (await api.delete(MAPS)).error(403, "Forbidden", "b stays")
    assert [item["metadata"]["name"] for item in (await api.get(MAPS)).ok()["items"]] == ["b"]


async def test_warnings_reach_the_client(api: Caller, hook: WebhookServer) -> None:
    texts = ["old \u2014 field", 'with "quotes"', "line\r\nbreak: x", "old \u2014 field"]
    hook.on("/warn", lambda request: allow(request, warnings=texts))
    await register(api, validating("v", hook.webhook("/warn")))
    answer = await api.post(MAPS, config_map("m"))
    assert answer.headers["warning"] == ('299 - "old \u2014 field", 299 - "with \\"quotes\\"", 299 - "line  break: x"')


async def test_too_many_warnings_are_cut(api: Caller, hook: WebhookServer) -> None:
    hook.on("/warn", lambda request: allow(request, warnings=[f"{n:03}" + "x" * 997 for n in range(50)]))
    await register(api, validating("v", hook.webhook("/warn")))
    warning = (await api.post(MAPS, config_map("m"))).headers["warning"]
    assert warning.count("299 - ") == 16
    assert warning.startswith('299 - "000' + "x" * 253 + '"')


# -- webhooks that do not work


def raw(body: bytes, head: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return head + b"\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda r: raw(b"not json"), "json parse error"),
        (lambda r: raw(b"[]"), "webhook response was absent"),
        (lambda r: raw(b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}'), "response was absent"),
        (lambda r: {**allow(r), "uid": "wrong"}, 'expected response.uid="'),
        (lambda r: raw(json.dumps({"apiVersion": "v9", "response": allow(r)}).encode()), "v9, Kind=None"),
        (lambda r: raw(b"", b"HTTP/1.1 500 Oops"), "the server rejected our request: 500"),
        (lambda r: raw(b"", b"HTTP/1.1 404 Gone"), "could not find the requested resource"),
        (lambda r: raw(b"", b"HTTP/1.1 307 There\r\nlocation: https://127.0.0.1:1/"), "rejected our request: 307"),
        (lambda r: b"garbage\r\n\r\n", "malformed HTTP response"),
        (lambda r: b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70000, "head of the answer is larger"),
        (lambda r: raw(b" " * (9 << 20)), "the answer is larger than 8 MiB"),
        (lambda r: allow(r, patchType="JSONPatch", patch="%%%"), "undecodable patch"),
        (lambda r: allow(r, patchType="Merge", patch="e30="), "unsupported patch type"),
        (lambda r: allow(r, patch="e30="), "not response.patchType"),
    ],
)
async def test_answers_that_cannot_be_used(api: Caller, hook: WebhookServer, answer: Any, words: str) -> None:
    hook.on("/bad", answer)
    await register(api, mutating("c", hook.webhook("/bad", failurePolicy="Fail")))
    body = (await api.post(MAPS, config_map("m"))).error(500, "InternalError")
    assert body["message"].startswith('Internal error occurred: failed calling webhook "bad.example.com": ')
    assert words in body["message"]
    (await api.get(f"{MAPS}/m")).error(404, "NotFound")
    (
        await api.patch(
            f"{MUTATING}/c", [{"op": "add", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}], "json"
        )
    ).ok()
    (await api.post(MAPS, config_map("m"))).ok(201)


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ([{"op": "replace", "path": "/missing/deep", "value": 1}], "does not apply"),
        ([{"op": "replace", "path": "/kind", "value": "Secret"}], "changed apiVersion or kind"),
        ([{"op": "replace", "path": "/metadata", "value": "x"}], "metadata"),
    ],
)
async def test_patches_that_do_not_fit_fail_whatever_the_policy(
    api: Caller, hook: WebhookServer, operations: list[Any], words: str
) -> None:
    hook.on("/bad", lambda request: patch(request, *operations))
    await register(api, mutating("c", hook.webhook("/bad", failurePolicy="Ignore")))
    (await api.post(MAPS, config_map("m"))).error(500, "InternalError", words)
    (await api.get(f"{MAPS}/m")).error(404, "NotFound")


async def test_a_slow_webhook_is_given_up(api: Caller, hook: WebhookServer) -> None:
    async def sleep(target: str, request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(60)
        return allow(request)

    hook.routes["/slow"] = sleep
    await register(api, validating("v", hook.webhook("/slow", timeoutSeconds=1)))
    body = (await api.post(MAPS, config_map("m"))).error(500, "InternalError", "/slow?timeout=1s")
    assert body["message"].endswith('": context deadline exceeded')


async def test_the_certificate_has_to_be_trusted(api: Caller, hook: WebhookServer, tmp_path: Any) -> None:
    stranger = Authority(tmp_path)
    wrong = hook.webhook("/x")
    wrong["clientConfig"]["caBundle"] = stranger.bundle
    await register(api, validating("v", wrong))
    words = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    (await api.post(MAPS, config_map("m"))).error(500, "InternalError", words)
    assert hook.seen == []


@pytest.mark.parametrize("bundle", ["no certificate", "not even \xe4scii"])
async def test_a_bundle_without_a_certificate_trusts_nobody(api: Caller, hook: WebhookServer, bundle: str) -> None:
    wrong = hook.webhook()
    wrong["clientConfig"]["caBundle"] = base64.b64encode(bundle.encode()).decode()
    (await api.post(VALIDATING, validating("v", wrong))).ok(201)
    (await api.post(MAPS, config_map("m"))).error(500, "InternalError", 'failed calling webhook "all.example.com"')
    await api.patch(f"{VALIDATING}/v", [{"op": "add", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}], "json")
    (await api.post(MAPS, config_map("m"))).ok(201)


async def test_nobody_listens(api: Caller, hook: WebhookServer) -> None:
    closed = hook.webhook("/x")
    closed["clientConfig"]["url"] = "https://127.0.0.1:1/x"
    await register(api, validating("v", closed))
    (await api.post(MAPS, config_map("m"))).error(500, "InternalError", "connect: connection refused")
    missing = hook.webhook("/x")
    missing["clientConfig"] = {"service": {"namespace": "default", "name": "hook", "port": 8443}}
    await register(api, validating("u", missing))
    words = 'Post "https://hook.default.svc:8443/?timeout=10s": service "hook" not found'
    (await api.post(MAPS, config_map("m"))).error(500, "InternalError", words)
    elsewhere = {"type": "ExternalName", "externalName": "localhost"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": elsewhere}
    (await api.post("/api/v1/namespaces/default/services", service)).ok(201)
    port = {"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": 1}
    (await api.patch(f"{VALIDATING}/u", [port], "json")).ok()
    (await api.delete(f"{VALIDATING}/v")).ok()
    words = 'Post "https://hook.default.svc:1/?timeout=10s": dial tcp localhost:1: connect: connection refused'
    (await api.post(MAPS, config_map("m"))).error(500, "InternalError", words)


async def test_connections_are_used_again_and_replaced_when_they_died(api: Caller, hook: WebhookServer) -> None:
    await register(api, validating("v", hook.webhook("/x")))
    for number in range(3):
        (await api.post(MAPS, config_map(f"m{number}"))).ok(201)
    assert hook.connections == 1
    for task in list(hook._tasks):
        task.cancel()
    await asyncio.sleep(0)
    (await api.post(MAPS, config_map("last"))).ok(201)
    assert len(hook.seen) == 4


# -- dry run, and writes meanwhile


async def test_dry_runs_ask_only_webhooks_without_side_effects(api: Caller, hook: WebhookServer) -> None:
    hook.on("/x", lambda request: patch(request, sets("added")))
    await register(api, mutating("c", hook.webhook("/x", sideEffects="NoneOnDryRun")))
    tried = (await api.post(f"{MAPS}?dryRun=All", config_map("m"))).ok(201)
    assert tried["data"]["added"] == "yes"
    assert hook.calls("/x")[0]["dryRun"] is True
    (await api.get(f"{MAPS}/m")).error(404, "NotFound")
    # v1 no longer takes others, but v1beta1 did.
    old = validating("v", hook.webhook("/y", sideEffects="Some", failurePolicy="Ignore"))
    await api.store.write(Put(Key("admissionregistration.k8s.io/validatingwebhookconfigurations", "", "v"), old, 0))
    again = make_server(api.store, api.clock)
    answer = await Caller(again, api.store, api.clock).post(f"{MAPS}?dryRun=All", config_map("m"))
    answer.error(400, "BadRequest", 'admission webhook "y.example.com" does not support dry run')
    await again.close()


async def interfere(api: Caller, hook: WebhookServer) -> None:
    """The first time that the webhook is asked about the map, somebody else writes it."""

    async def answer(target: str, request: dict[str, Any]) -> dict[str, Any]:
        if len(hook.calls("/x")) == 1:
            (await api.patch(f"{MAPS}/m", {"data": {"other": "1"}})).ok()
        return allow(request)

    hook.routes["/x"] = answer
    await register(api, validating("v", hook.webhook("/x")))


async def test_a_patch_is_done_again_when_somebody_writes_meanwhile(api: Caller, hook: WebhookServer) -> None:
    (await api.post(MAPS, config_map("m", {"count": "0"}))).ok(201)

    await interfere(api, hook)
    changed = (await api.patch(f"{MAPS}/m", {"data": {"mine": "1"}})).ok()
    assert changed["data"] == {"count": "0", "other": "1", "mine": "1"}


async def test_a_put_that_names_a_version_conflicts(api: Caller, hook: WebhookServer) -> None:
    made = (await api.post(MAPS, config_map("m"))).ok(201)

    await interfere(api, hook)
    (await api.put(f"{MAPS}/m", {**made, "data": {"a": "2"}})).error(409, "Conflict", "has been modified")
    assert (await api.get(f"{MAPS}/m")).ok()["data"] == {"a": "1", "other": "1"}


async def test_a_namespace_that_goes_away_while_a_webhook_takes_its_time(api: Caller, hook: WebhookServer) -> None:
    (await api.post("/api/v1/namespaces", namespace("gone"))).ok(201)

    async def delete(target: str, request: dict[str, Any]) -> dict[str, Any]:
        (await api.delete("/api/v1/namespaces/gone")).ok()
        return allow(request)

    hook.routes["/x"] = delete
    await register(api, mutating("c", hook.webhook("/x")))
    answer = await api.post("/api/v1/namespaces/gone/configmaps", config_map("m"))
    answer.error(403, "Forbidden", "being terminated")


async def test_webhooks_are_known_after_a_restart(api: Caller, hook: WebhookServer) -> None:
    hook.on("/no", lambda request: deny(request, message="no"))
    await register(api, validating("v", hook.webhook("/no")))
    again = make_server(api.store, api.clock)
    answer = await Caller(again, api.store, api.clock).post(MAPS, config_map("m"))
    assert answer.status == 400
    await again.close()
