from __future__ import annotations

import copy
from typing import Any

import pytest

from homeport.kube import core
from homeport.kube.core.pod_defaults import default_template, has_latest_tag, qos_class
from homeport.kube.schema import REF_PREFIX
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.struct import components, schema_name

SCHEMA = Schema({"$ref": REF_PREFIX + schema_name(core.POD.struct)}, components([core.POD]))


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "a", "image": "b", **fields}


def pod(*containers: Any, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers) or [container()], **spec}}


def admitted(obj: Any, old: Any = None) -> Any:
    return SCHEMA.normalise(core.POD.prepare(SCHEMA.default(obj), old))


def complaints(obj: Any, old: Any = None) -> list[str]:
    done = admitted(obj, old)
    return [str(error) for error in SCHEMA.validate(done, old) or core.POD.validate(done, old)]


def test_a_small_pod_is_stored_as_on_a_cluster():
    assert admitted(pod(container(ports=[{"containerPort": 80}]), volumes=[{"name": "v"}])) == {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [
                {
                    "name": "a",
                    "image": "b",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "Always",
                }
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "enableServiceLinks": True,
            "serviceAccountName": "default",
            "serviceAccount": "default",
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def test_probes_have_their_numbers():
    probe = admitted(pod(container(livenessProbe={"httpGet": {"port": 80}})))["spec"]["containers"][0]["livenessProbe"]
    assert probe == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


@pytest.mark.parametrize(
    ("image", "latest"),
    [
        ("python", True),
        ("python:latest", True),
        ("python:3.11", False),
        ("host:5000/python", True),
        ("host:5000/python:1", False),
        ("python@sha256:ab", False),
        ("python:latest@sha256:ab", True),
    ],
)
def test_which_images_are_pulled_always(image, latest):
    assert has_latest_tag(image) == latest


def test_limits_are_requested_where_nothing_is():
    resources = {"limits": {"cpu": 2, "memory": "1Gi"}, "requests": {"cpu": "500m"}}
    done = admitted(pod(container(resources=resources)))
    assert done["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "2", "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    }
    assert done["status"]["qosClass"] == "Burstable"


def test_quality_of_service():
    both = {"cpu": "1", "memory": "1Gi"}
    assert qos_class({"containers": [{"resources": {"limits": both, "requests": both}}]}) == "Guaranteed"
    assert qos_class({"containers": [{"resources": {"limits": both, "requests": both}}, {}]}) == "Burstable"
    assert qos_class({"containers": [{}]}) == "BestEffort"
    assert qos_class({"containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}]}) == "BestEffort"


def test_templates_do_not_request_what_they_limit():
    limited = container(resources={"limits": {"cpu": "1"}}, ports=[{"containerPort": 80}])
    template = {"spec": {"containers": [limited], "hostNetwork": True}}
    done = default_template(template)["spec"]["containers"][0]
    assert done["resources"] == {"limits": {"cpu": "1"}}
    assert done["ports"] == [{"containerPort": 80}]


@pytest.mark.parametrize(
    ("of_pod", "of_container", "requests", "quality"),
    [
        ({"limits": {"cpu": "2"}}, {}, {"cpu": "2"}, "Burstable"),
        ({"limits": {"cpu": "2", "memory": "1Gi"}}, {}, {"cpu": "2", "memory": "1Gi"}, "Guaranteed"),
        (
            {"limits": {"cpu": "2", "memory": "1Gi"}},
            {"requests": {"cpu": "500m"}},
            {"cpu": "500m", "memory": "1Gi"},
            "Burstable",
        ),
        ({"limits": {"cpu": "2"}}, {"limits": {"memory": "1Gi"}}, {"cpu": "2", "memory": "1Gi"}, "Burstable"),
        ({"requests": {"cpu": "2"}}, {"requests": {"memory": "1Gi"}}, {"cpu": "2"}, "Burstable"),
    ],
)
def test_what_a_pod_states_for_all_its_containers(of_pod, of_container, requests, quality):
    done = admitted(pod(container(resources=of_container), resources=of_pod))
    assert done["spec"]["resources"]["requests"] == requests
    assert done["status"]["qosClass"] == quality
    assert complaints(done) == []


def test_on_the_hosts_network_ports_are_host_ports():
    done = admitted(pod(container(ports=[{"containerPort": 80}]), hostNetwork=True))
    assert done["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]


def test_the_deprecated_account_follows_the_other():
    spec = admitted(pod(serviceAccountName="trainer"))["spec"]
    assert spec["serviceAccount"] == "trainer"
    assert admitted(pod(serviceAccount="trainer"))["spec"]["serviceAccountName"] == "trainer"


MOUNT = {"name": "v", "mountPath": "/v"}
REF = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod(), []),
        ({"metadata": {"name": "p"}}, ["spec.containers: Required value"]),
        ({"metadata": {"name": "p"}, "spec": {"containers": []}}, ["spec.containers: Required value"]),
        ({"metadata": {"name": "p"}, "spec": {}}, ["spec.containers: Required value"]),
        (pod({"name": "a"}), ["spec.containers[0].image: Required value"]),
        (pod(container(), container()), ['spec.containers[1].name: Duplicate value: "a"']),
        (pod(initContainers=[container()]), ['spec.initContainers[0].name: Duplicate value: "a"']),
        (
            pod(initContainers=[container(name="i", livenessProbe={"exec": {"command": ["x"]}})]),
            [
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without "
                "restartPolicy=Always"
            ],
        ),
        (pod(container(volumeMounts=[MOUNT])), ['spec.containers[0].volumeMounts[0].name: Not found: "v"']),
        (pod(container(volumeMounts=[MOUNT]), volumes=[{"name": "v"}]), []),
        (
            pod(container(volumeMounts=[MOUNT, MOUNT]), volumes=[{"name": "v"}]),
            ['spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/v": must be unique'],
        ),
        (
            pod(volumes=[{"name": "v"}, {"name": "v"}]),
            ['spec.volumes[1].name: Duplicate value: "v"'],
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (pod(volumes=[{"name": "v", "secret": {}}]), ["spec.volumes[0].secret.secretName: Required value"]),
        (pod(volumes=[{"name": "v", "image": {}}]), ["spec.volumes[0].image.reference: Required value"]),
        (
            pod(volumes=[{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]),
            ["spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'"],
        ),
        (
            pod(container(ports=[{"containerPort": 70000}])),
            ["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
        ),
        (
            pod(container(ports=[{"containerPort": 1, "name": "x"}, {"containerPort": 2, "name": "x"}])),
            ['spec.containers[0].ports[1].name: Duplicate value: "x"'],
        ),
        (
            pod(container(ports=[{"containerPort": 1, "name": "a-very-long-port-name"}])),
            [
                'spec.containers[0].ports[0].name: Invalid value: "a-very-long-port-name": must be no more than 15 '
                "characters"
            ],
        ),
        (pod(container(env=[{"name": ""}])), ["spec.containers[0].env[0].name: Required value"]),
        (pod(container(env=[{"name": "A"}, {"name": "A"}])), []),
        (
            pod(container(env=[REF])),
            [
                'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": '
                'supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", '
                '"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"'
            ],
        ),
        (pod(container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}])), []),
        (
            pod(
                container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])
            ),
            ['spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        (
            pod(container(resources={"requests": {"cpu": "1500m"}}), resources={"requests": {"cpu": "1"}}),
            [
                'spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container'
                " requests of 1500m"
            ],
        ),
        (
            pod(
                container(resources={"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}),
                resources={"limits": {"cpu": "1"}},
            ),
            [
                'spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits'
                " of 1"
            ],
        ),
        (
            pod(container(), resources={"requests": {"cpu": "2", "ephemeral-storage": "1"}, "limits": {"cpu": "1"}}),
            [
                'spec.resources.requests[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: '
                '"cpu", "hugepages-", "memory"',
                'spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
            ],
        ),
        (
            pod(container(), resources={"claims": [{"name": "x"}]}),
            ["spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level"],
        ),
        (
            pod(container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})),
            ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            pod(container(resources={"limits": {"gpu": "1"}})),
            [
                'spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for '
                "containers",
                'spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for '
                "containers",
            ],
        ),
        (
            pod(container(resources={"requests": {"nvidia.com/gpu": "1"}})),
            ["spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"],
        ),
        (
            pod(container(resources={"limits": {"nvidia.com/gpu": "500m"}})),
            [
                'spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: "500m": must be an integer',
                'spec.containers[0].resources.requests[nvidia.com/gpu]: Invalid value: "500m": must be an integer',
            ],
        ),
        (
            pod(restartPolicy="Sometimes"),
            ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'],
        ),
        (
            pod(activeDeadlineSeconds=0),
            ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            pod(container(livenessProbe={})),
            ["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            pod(container(livenessProbe={"exec": {}})),
            ["spec.containers[0].livenessProbe.exec.command: Required value"],
        ),
        (
            pod(tolerations=[{"operator": "Exists", "value": "x"}]),
            ["spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'"],
        ),
        (
            pod(hostAliases=[{"ip": "nowhere"}]),
            [
                'spec.hostAliases[0].ip: Invalid value: "nowhere": must be a valid IP address, (e.g. 10.9.8.7 or '
                "2001:db8::ffff)"
            ],
        ),
        (
            pod(dnsPolicy="None"),
            ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
    ],
)
def test_rules_speak_as_kubernetes_does(obj, expected):
    assert complaints(obj) == expected


def test_names_of_containers_are_labels():
    (message,) = complaints(pod(container(name="My_App")))
    assert message.startswith('spec.containers[0].name: Invalid value: "My_App": a lowercase RFC 1123 label must')


class TestUpdate:
    def change(self, **spec: Any) -> list[str]:
        old = admitted(pod(container(env=[{"name": "A", "value": "1"}]), activeDeadlineSeconds=10))
        new = copy.deepcopy(old)
        new["spec"] |= spec
        return complaints(new, old)

    def test_images_deadlines_and_further_tolerations_may_change(self):
        old = admitted(pod())
        new = copy.deepcopy(old)
        new["spec"]["containers"][0]["image"] = "other"
        new["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
        new["spec"]["activeDeadlineSeconds"] = 5
        assert complaints(new, old) == []

    def test_nothing_else_may(self):
        (message,) = self.change(restartPolicy="Never")
        assert message.startswith(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].im"
        )
        assert message.endswith("changed: spec.restartPolicy")

    def test_what_changed_in_a_container_is_said(self):
        old = admitted(pod(container(env=[{"name": "A", "value": "1"}])))
        new = copy.deepcopy(old)
        new["spec"]["containers"][0]["env"][0]["value"] = "2"
        (message,) = complaints(new, old)
        assert message.endswith("changed: spec.containers[0].env")

    def test_containers_stay_as_many(self):
        assert self.change(containers=[container(), container(name="b")]) == [
            "spec.containers: Forbidden: pod updates may not add or remove containers"
        ]

    def test_a_deadline_only_comes_closer(self):
        assert self.change(activeDeadlineSeconds=20) == [
            "spec.activeDeadlineSeconds: Invalid value: 20: must be less than or equal to previous value"
        ]

    def test_a_pod_is_bound_once(self):
        old = admitted(pod())
        bound = {**old, "spec": {**old["spec"], "nodeName": "n"}}
        assert complaints(bound, old) == []
        moved = {**old, "spec": {**old["spec"], "nodeName": "m"}}
        (message,) = complaints(moved, bound)
        assert message.endswith("changed: spec.nodeName")

    def test_what_is_stored_is_not_judged_again(self):
        old = pod(container(name="Bad_Name"))
        assert list(core.POD.validate({**old, "status": {"phase": "Running"}}, old)) == []


class TestTemplate:
    def test_defaults_that_depend_on_others(self):
        template = {"spec": {"containers": [container(image="b:1")], "volumes": [{"name": "v"}]}}
        done = core.default_template(template)
        assert done["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
        assert done["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
        assert core.default_template(done) is done

    def test_errors_have_the_templates_path(self):
        template = {"metadata": {"labels": {"a": "-"}}, "spec": {"containers": [{"name": "a"}]}}
        path = "spec.tfReplicaSpecs[Worker].template"
        found = [error.path for error in core.validate_template(template, path)]
        assert found == [f"{path}.metadata.labels", f"{path}.spec.containers[0].image"]

    def test_templates_have_no_ephemeral_containers(self):
        template = {"spec": {"containers": [container()], "ephemeralContainers": [container(name="d")]}}
        (error,) = core.validate_template(template, "template")
        assert str(error) == (
            "template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
        )

    def test_odd_forms_are_left_for_the_schema(self):
        for spec in (None, [], {"containers": 1}, {"containers": [None, {"resources": 1, "image": 2}], "volumes": {}}):
            template = {"spec": spec}
            assert core.default_template(template) == template


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"key": ""}, "spec.containers[0].env[0].valueFrom.fileKeyRef.key: Required value"),
        ({"volumeName": ""}, "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Required value"),
        ({"path": ""}, "spec.containers[0].env[0].valueFrom.fileKeyRef.path: Required value"),
        ({"path": "/etc"}, 'fileKeyRef.path: Invalid value: "/etc": must be a relative path'),
        ({"path": "a/../b"}, "fileKeyRef.path: Invalid value: \"a/../b\": must not contain '..'"),
        ({"path": "..data"}, "fileKeyRef.path: Invalid value: \"..data\": must not start with '..'"),
    ],
)
def test_files_of_variables(change: dict[str, str], expected: str | None) -> None:
    reference = {"volumeName": "v", "path": "f", "key": "K"} | change
    env = [{"name": "A", "valueFrom": {"fileKeyRef": reference}}]
    found = complaints(pod(container(env=env), volumes=[{"name": "v", "emptyDir": {}}]))
    assert (found == []) if expected is None else any(expected in text for text in found)


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ({"mountPropagation": "HostToContainer"}, []),
        ({"readOnly": True, "recursiveReadOnly": "Enabled"}, []),
        ({"recursiveReadOnly": "Disabled"}, []),
        (
            {"mountPropagation": "Bidirectional"},
            ["mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers"],
        ),
        (
            {"recursiveReadOnly": "Enabled"},
            ["recursiveReadOnly: Forbidden: may only be specified when readOnly is true"],
        ),
        (
            {"readOnly": True, "recursiveReadOnly": "IfPossible", "mountPropagation": "HostToContainer"},
            [
                "recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
            ],
        ),
        (
            {"recursiveReadOnly": "Maybe"},
            [
                'recursiveReadOnly: Unsupported value: "Maybe": supported values: "Disabled", "Enabled", "IfPossible"',
            ],
        ),
    ],
)
def test_mounts_in_volumes(mount: dict[str, Any], expected: list[str]) -> None:
    mounts = [{"name": "v", "mountPath": "/v", **mount}]
    found = complaints(pod(container(volumeMounts=mounts), volumes=[{"name": "v", "emptyDir": {}}]))
    assert found == [f"spec.containers[0].volumeMounts[0].{text}" for text in expected]
