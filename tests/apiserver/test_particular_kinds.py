"""What single kinds do beside the cycle that all go through (``test_every_kind``) and their rules
(``test_rules_of_kinds``)."""

from __future__ import annotations

import pytest
from api_testing import Caller, pod
from samples import sample

from homeport.kube import core
from homeport.kube.wire import User

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
EVENTS = "/api/v1/namespaces/default/events"
NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


class TestEvents:
    async def test_both_groups_show_the_same_events(self, api: Caller):
        (await api.post(EVENTS, sample(core.EVENT, "old"))).ok(201)
        (await api.post(NEW_EVENTS, sample(core.EVENTS_V1, "new"))).ok(201)
        old = (await api.get(f"{NEW_EVENTS}/old")).ok()
        assert (old["apiVersion"], old["note"], old["regarding"]["name"]) == (
            "events.k8s.io/v1",
            "It works.",
            "sample",
        )
        new = (await api.get(f"{EVENTS}/new")).ok()
        assert (new["message"], new["reportingComponent"]) == ("It works.", "example.com/tester")
        for path in (EVENTS, NEW_EVENTS):
            items = (await api.get(path)).ok()["items"]
            assert [item["metadata"]["name"] for item in items] == ["new", "old"]

    @pytest.mark.parametrize(
        ("path", "selector", "found"),
        [
            (EVENTS, "involvedObject.name=sample,reason=Tested", ["new", "old"]),
            (EVENTS, "reportingComponent=example.com/tester", ["new"]),
            (NEW_EVENTS, "regarding.name=sample", ["new", "old"]),
            (NEW_EVENTS, "reportingController=example.com/tester", ["new"]),
        ],
    )
    async def test_field_selectors(self, api: Caller, path, selector, found):
        (await api.post(EVENTS, sample(core.EVENT, "old"))).ok(201)
        (await api.post(NEW_EVENTS, sample(core.EVENTS_V1, "new"))).ok(201)
        items = (await api.get(f"{path}?fieldSelector={selector}")).ok()["items"]
        assert [item["metadata"]["name"] for item in items] == found

    async def test_a_series_grows_and_nothing_else_changes(self, api: Caller):
        (await api.post(NEW_EVENTS, sample(core.EVENTS_V1))).ok(201)
        series = {"count": 2, "lastObservedTime": "2026-11-22T12:00:01.000000Z"}
        at = f"{NEW_EVENTS}/sample"
        assert (await api.patch(at, {"series": series}, "strategic")).ok()["series"] == series
        (await api.patch(at, {"note": "other"})).error(422, "Invalid", "note: Invalid value")


class TestAutoscalers:
    async def test_both_versions(self, api: Caller):
        first = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
        second = first.replace("v1", "v2", 1)
        (await api.post(first, sample(core.HORIZONTAL_POD_AUTOSCALER_V1))).ok(201)
        shown = (await api.get(f"{second}/sample")).ok()
        (metric,) = shown["spec"]["metrics"]
        assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 60}
        pods = {
            "type": "Pods",
            "pods": {"metric": {"name": "rate"}, "target": {"type": "AverageValue", "averageValue": "10"}},
        }
        (await api.patch(f"{second}/sample", {"spec": {"metrics": [metric, pods]}})).ok()
        again = (await api.get(f"{first}/sample")).ok()
        assert again["spec"]["targetCPUUtilizationPercentage"] == 60
        (await api.put(f"{first}/sample", again)).ok()
        assert (await api.get(f"{second}/sample")).ok()["spec"]["metrics"] == [metric, pods]


class TestCertificateRequests:
    async def test_who_asks_is_for_the_server_to_say(self, api: Caller):
        jane = Caller(api.server, api.store, api.clock, User("jane", ("system:masters",), "7", {"team": ("a",)}))
        sent = sample(core.CERTIFICATE_SIGNING_REQUEST)
        sent["spec"] |= {"username": "root", "groups": ["system:nodes"]}
        spec = (await jane.post(REQUESTS, sent)).ok(201)["spec"]
        assert (spec["username"], spec["groups"], spec["uid"]) == ("jane", ["system:masters"], "7")
        assert spec["extra"] == {"team": ["a"]}

    async def test_decision(self, api: Caller):
        (await api.post(REQUESTS, sample(core.CERTIFICATE_SIGNING_REQUEST))).ok(201)
        at = f"{REQUESTS}/sample/approval"
        approved = {"type": "Approved", "status": "True", "reason": "Test"}
        patch = {"metadata": {"annotations": {"a": "b"}}, "status": {"conditions": [approved]}}
        decided = (await api.patch(at, patch)).ok()
        (condition,) = decided["status"]["conditions"]
        assert condition["lastUpdateTime"] == "2026-11-22T12:00:00Z"
        assert decided["metadata"]["annotations"] == {"a": "b"}
        both = [*decided["status"]["conditions"], {"type": "Denied", "status": "True"}]
        (await api.patch(at, {"status": {"conditions": both}})).error(422, "Invalid", "are mutually exclusive")
        (await api.patch(at, {"status": {"conditions": []}})).error(422, "Invalid", "may not remove a condition")
        (await api.patch(f"{REQUESTS}/sample", {"spec": {"usages": ["any"]}})).error(422, "Invalid", "immutable")

    async def test_who_decides_needs_the_right_to(self, api: Caller):
        (await api.post(REQUESTS, sample(core.CERTIFICATE_SIGNING_REQUEST))).ok(201)
        role = {
            "metadata": {"name": "half"},
            "rules": [
                {
                    "apiGroups": ["certificates.k8s.io"],
                    "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"],
                    "verbs": ["*"],
                }
            ],
        }
        roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        (await api.post(roles, role)).ok(201)
        binding = {
            "metadata": {"name": "half"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "half"},
            "subjects": [{"kind": "User", "name": "joe"}],
        }
        (await api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)).ok(201)
        joe = Caller(api.server, api.store, api.clock, User("joe"))
        approve = {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}
        words = 'user not permitted to approve requests with signerName "example.com/signer"'
        (await joe.patch(f"{REQUESTS}/sample/approval", approve)).error(403, "Forbidden", words)
        fail = {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
        (await joe.patch(f"{REQUESTS}/sample/status", fail)).error(403, "Forbidden", "not permitted to sign")
        rule = {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["signers"],
            "resourceNames": ["example.com/*"],
            "verbs": ["approve"],
        }
        (await api.patch(f"{roles}/half", {"rules": [*role["rules"], rule]})).ok()
        (await joe.patch(f"{REQUESTS}/sample/approval", approve)).ok()


class TestPods:
    async def test_bindings(self, api: Caller):
        (await api.post("/api/v1/namespaces/default/pods", pod("a"))).ok(201)
        path = "/api/v1/namespaces/default/bindings"
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-0"}
        (await api.post(path, {"metadata": {"name": "a"}, "target": target})).ok(201)
        assert (await api.get("/api/v1/namespaces/default/pods/a")).ok()["spec"]["nodeName"] == "node-0"
        (await api.post(path, {"target": target})).error(400, "BadRequest", "name is required")
        (await api.post(path, {"metadata": {"name": "b"}, "target": target})).error(404, "NotFound")
        (await api.get(path)).error(405, "MethodNotAllowed")

    async def test_ephemeral_containers_can_be_added_and_no_more(self, api: Caller):
        path = "/api/v1/namespaces/default/pods"
        (await api.post(path, pod("a"))).ok(201)
        at = f"{path}/a/ephemeralcontainers"
        added = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "python"}]}}
        (await api.patch(f"{path}/a", added, "strategic")).error(422, "Invalid")
        changed = (await api.patch(at, added, "strategic")).ok()
        assert [c["name"] for c in changed["spec"]["ephemeralContainers"]] == ["debug"]
        changed["spec"]["ephemeralContainers"] = []
        (await api.put(at, changed)).error(422, "Invalid", 'existing ephemeral containers "debug" may not be removed')

    async def test_resize(self, api: Caller):
        path = "/api/v1/namespaces/default/pods"
        (await api.post(path, pod("a"))).ok(201)
        wanted = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "2"}}}]}}
        (await api.patch(f"{path}/a", wanted, "strategic")).error(422, "Invalid")
        resized = (await api.patch(f"{path}/a/resize", wanted, "strategic")).ok()
        assert resized["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
        more = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"example.com/gpu": "1"}}}]}}
        (await api.patch(f"{path}/a/resize", more, "strategic")).error(422, "Invalid", "only cpu and memory")

    async def test_parts_can_be_applied(self, api: Caller):
        path = "/api/v1/namespaces/default/pods"
        (await api.post(f"{path}?fieldManager=creator", pod("a"))).ok(201)

        def config(**spec: object) -> dict[str, object]:
            metadata = {"name": "a", "labels": {"no": "part"}}
            return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

        resources = {"requests": {"cpu": "2"}}
        wanted = config(containers=[{"name": "main", "image": "other", "resources": resources}])
        resized = (await api.patch(f"{path}/a/resize?fieldManager=resizer", wanted, "apply")).ok()
        main = resized["spec"]["containers"][0]
        assert (main["resources"], main["image"]) == (resources, pod("a")["spec"]["containers"][0]["image"])
        debugging = config(ephemeralContainers=[{"name": "debug", "image": "python"}])
        debugged = (await api.patch(f"{path}/a/ephemeralcontainers?fieldManager=me", debugging, "apply")).ok()
        assert [c["name"] for c in debugged["spec"]["ephemeralContainers"]] == ["debug"]
        assert "labels" not in debugged["metadata"]
        entries = {entry["manager"]: entry for entry in debugged["metadata"]["managedFields"]}
        assert {name: entry.get("subresource") for name, entry in entries.items()} == {
            "creator": None,
            "resizer": "resize",
            "me": "ephemeralcontainers",
        }
        owned = {"f:resources": {"f:requests": {"f:cpu": {}}}, ".": {}, "f:name": {}}
        assert entries["resizer"]["fieldsV1"] == {"f:spec": {"f:containers": {'k:{"name":"main"}': owned}}}
        other = config(containers=[{"name": "main", "resources": {"requests": {"cpu": "3"}}}])
        refused = (await api.patch(f"{path}/a/resize?fieldManager=you", other, "apply")).error(409, "Conflict")
        assert len(refused["details"]["causes"]) == 1
        (await api.patch(f"{path}/a/resize?fieldManager=you&force=true", other, "apply")).ok()


class TestDeployments:
    async def test_status_comes_with_annotations(self, api: Caller):
        (await api.post(DEPLOYMENTS, sample(core.DEPLOYMENT))).ok(201)
        patch = {"metadata": {"annotations": {"a": "b"}}, "status": {"replicas": 1}, "spec": {"replicas": 7}}
        patched = (await api.patch(f"{DEPLOYMENTS}/sample/status", patch)).ok()
        assert (patched["metadata"]["annotations"], patched["spec"]["replicas"]) == ({"a": "b"}, 1)

    async def test_the_selector_stays(self, api: Caller):
        made = (await api.post(DEPLOYMENTS, sample(core.DEPLOYMENT))).ok(201)
        assert made["spec"]["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
        }
        labels = {"app": "sample", "x": "y"}
        made["spec"]["selector"] = {"matchLabels": labels}
        made["spec"]["template"]["metadata"]["labels"] = labels
        (await api.put(f"{DEPLOYMENTS}/sample", made)).error(422, "Invalid", "field is immutable")


class TestJobs:
    PATH = "/apis/batch/v1/namespaces/default/jobs"

    async def test_labels_and_selector(self, api: Caller):
        made = (await api.post(self.PATH, sample(core.JOB))).ok(201)
        uid = made["metadata"]["uid"]
        assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        labels = made["spec"]["template"]["metadata"]["labels"]
        assert (labels["batch.kubernetes.io/job-name"], labels["controller-uid"]) == ("sample", uid)
        assert (made["spec"]["completions"], made["spec"]["backoffLimit"]) == (1, 6)
        (await api.patch(f"{self.PATH}/sample", {"spec": {"completions": 3}})).error(422, "Invalid", "immutable")
        (await api.patch(f"{self.PATH}/sample", {"spec": {"parallelism": 3, "suspend": True}})).ok()

    async def test_a_name_that_the_server_draws_is_in_the_labels(self, api: Caller, monkeypatch: pytest.MonkeyPatch):
        drawn = iter(["aaaaa", "aaaaa", "bbbbb"])
        monkeypatch.setattr("homeport.apiserver.admission.objects.new_suffix", lambda: next(drawn))
        pod = sample(core.JOB)["spec"]["template"]["spec"]
        new = {"metadata": {"generateName": "job-"}, "spec": {"template": {"spec": pod}}}
        for name in ("job-aaaaa", "job-bbbbb"):  # the second after a try with the name of the first
            made = (await api.post(self.PATH, new)).ok(201)
            assert made["metadata"]["name"] == name
            uid, labels = made["metadata"]["uid"], made["spec"]["template"]["metadata"]["labels"]
            wanted = {"batch.kubernetes.io/job-name": name, "batch.kubernetes.io/controller-uid": uid}
            assert wanted.items() <= labels.items()
            assert wanted.items() <= made["metadata"]["labels"].items()
            assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
