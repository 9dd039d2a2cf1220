"""The official Python client, old generator and new: typed API, custom objects, dynamic client, watch, streams."""

from __future__ import annotations

import base64
import datetime
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

MODERN = int(client.__version__.partition(".")[0]) >= 37


@pytest.fixture(scope="module")
def api() -> client.ApiClient:
    config.load_kube_config()
    return client.ApiClient()


@pytest.fixture(scope="module")
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    name = f"official-{uuid.uuid4().hex[:8]}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="module")
def pod(core: client.CoreV1Api) -> Iterator[client.V1Pod]:
    """A pod that serves a page and can be looked into."""
    name = f"web-{uuid.uuid4().hex[:8]}"
    container = client.V1Container(name="web", image="nginx:latest", ports=[client.V1ContainerPort(container_port=80)])
    metadata = client.V1ObjectMeta(name=name, labels={"app": name})
    body = client.V1Pod(metadata=metadata, spec=client.V1PodSpec(containers=[container]))
    core.create_namespaced_pod("default", body)
    for event in watch.Watch().stream(
        core.list_namespaced_pod, "default", field_selector=f"metadata.name={name}", timeout_seconds=60
    ):
        if event["object"].status.phase == "Running":
            break
    # A process that runs need not listen yet: the server says when it does.
    for line in watch.Watch().stream(core.read_namespaced_pod_log, name, "default"):
        if "Serving HTTP" in line:
            break
    yield core.read_namespaced_pod(name, "default")
    core.delete_namespaced_pod(name, "default", grace_period_seconds=0)


def crd(group: str) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"boats.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "shortNames": ["bt"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails"},
                    },
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {
                                    "type": "object",
                                    "properties": {
                                        "sails": {"type": "integer", "minimum": 0},
                                        "name": {"type": "string"},
                                    },
                                },
                                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            },
                        }
                    },
                }
            ],
        },
    }


def test_typed_objects_make_the_round_trip(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one", labels={"a": "b"}), data={"k": "v"})
    )
    assert isinstance(made.metadata.creation_timestamp, datetime.datetime)
    made.data = {"k": "changed"}
    replaced = core.replace_namespaced_config_map("one", namespace, made)
    assert replaced.data == {"k": "changed"}
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_config_map("one", namespace, made)
    assert conflict.value.status == 409
    patched = core.patch_namespaced_config_map("one", namespace, {"data": {"more": "x"}})
    assert patched.data == {"k": "changed", "more": "x"}
    listed = core.list_namespaced_config_map(namespace, label_selector="a in (b, c),!d")
    assert [item.metadata.name for item in listed.items] == ["one"]
    core.delete_namespaced_config_map("one", namespace)
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("one", namespace)
    assert gone.value.status == 404


def test_numbers_come_back_as_quantities(core: client.CoreV1Api, namespace: str) -> None:
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "0.5"}}
    spec = {"containers": [{"name": "c", "image": "pause", "resources": resources}], "nodeSelector": {"no": "where"}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    utils.create_from_dict(core.api_client, body, namespace=namespace)
    read = core.read_namespaced_pod("p", namespace)
    assert read.spec.containers[0].resources.requests["cpu"] == "500m"
    deleted = core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
    assert deleted is not None


def test_pages_hold_together_while_objects_change(core: client.CoreV1Api, namespace: str) -> None:
    for number in range(7):
        core.create_namespaced_secret(
            namespace,
            client.V1Secret(
                metadata=client.V1ObjectMeta(name=f"s{number}"), string_data={"password": f"secret {number}"}
            ),
        )
    first = core.list_namespaced_secret(namespace, limit=3)
    core.delete_namespaced_secret("s5", namespace)
    names = [item.metadata.name for item in first.items]
    token = first.metadata._continue
    while token:
        page = core.list_namespaced_secret(namespace, limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
    assert [name for name in names if name.startswith("s")] == [f"s{number}" for number in range(7)]
    read = core.read_namespaced_secret("s1", namespace)
    assert base64.b64decode(read.data["password"]) == b"secret 1"


def test_a_watch_tells_what_happens_and_resumes(core: client.CoreV1Api, namespace: str) -> None:
    listed = core.list_namespaced_config_map(namespace)

    def write() -> None:
        time.sleep(0.2)
        for name in ("a", "b"):
            core.create_namespaced_config_map(
                namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"watched": "yes"}))
            )
        core.delete_namespaced_config_map("a", namespace)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    watching = watch.Watch()
    for event in watching.stream(
        core.list_namespaced_config_map,
        namespace,
        label_selector="watched=yes",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=20,
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if seen[-1][0] == "DELETED":
            watching.stop()
    writer.join()
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_a_revision_out_of_history_is_410(core: client.CoreV1Api, namespace: str) -> None:
    with pytest.raises(ApiException) as expired:
        for _ in watch.Watch().stream(
            core.list_namespaced_config_map, namespace, resource_version="99999999999", timeout_seconds=5
        ):
            pass
    assert expired.value.status in (410, 504)


def test_custom_objects(api: client.ApiClient, namespace: str) -> None:
    group = f"{uuid.uuid4().hex[:8]}.example.com"
    extensions = client.ApiextensionsV1Api(api)
    utils.create_from_dict(api, crd(group))
    try:
        custom = client.CustomObjectsApi(api)
        boat = {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": {"name": "dinghy"}, "spec": {"sails": 1}}
        custom.create_namespaced_custom_object(group, "v1", namespace, "boats", boat)
        with pytest.raises(ApiException) as invalid:
            custom.create_namespaced_custom_object(
                group, "v1", namespace, "boats", {**boat, "metadata": {"name": "x"}, "spec": {"sails": -1}}
            )
        assert invalid.value.status == 422
        patched = custom.patch_namespaced_custom_object(
            group, "v1", namespace, "boats", "dinghy", {"spec": {"name": "Ada"}}
        )
        assert patched["spec"] == {"sails": 1, "name": "Ada"}
        assert patched["metadata"]["generation"] == 2
        status = custom.patch_namespaced_custom_object_status(
            group, "v1", namespace, "boats", "dinghy", {"status": {"sails": 1}, "spec": {"sails": 9}}
        )
        assert (status["spec"]["sails"], status["status"], status["metadata"]["generation"]) == (1, {"sails": 1}, 2)
        scale = custom.get_namespaced_custom_object_scale(group, "v1", namespace, "boats", "dinghy")
        assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 1)
        listed = custom.list_namespaced_custom_object(group, "v1", namespace, "boats")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["dinghy"]
        custom.delete_namespaced_custom_object(group, "v1", namespace, "boats", "dinghy")
    finally:
        extensions.delete_custom_resource_definition(f"boats.{group}")


def test_the_dynamic_client(api: client.ApiClient, namespace: str) -> None:
    dynamic_client = dynamic.DynamicClient(api)
    maps = dynamic_client.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"a": "1"}}
    maps.create(body=body, namespace=namespace)
    applied = maps.server_side_apply(
        body={**body, "data": {"b": "2"}}, namespace=namespace, name="dyn", field_manager="me"
    )
    assert applied.data.to_dict() == {"a": "1", "b": "2"}
    managers = {entry.manager for entry in maps.get(name="dyn", namespace=namespace).metadata.managedFields}
    assert "me" in managers
    maps.delete(name="dyn", namespace=namespace)
    assert dynamic_client.resources.get(api_version="apps/v1", kind="Deployment").namespaced


def test_manifests_of_several_kinds(api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    documents = yaml.safe_load_all(
        textwrap.dedent("""
        apiVersion: v1
        kind: Service
        metadata: {name: db}
        spec: {ports: [{port: 5432}], selector: {app: db}}
        ---
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: db}
        spec:
          replicas: 0
          selector: {matchLabels: {app: db}}
          template:
            metadata: {labels: {app: db}}
            spec: {containers: [{name: db, image: pause}]}
        ---
        apiVersion: batch/v1
        kind: CronJob
        metadata: {name: nightly}
        spec:
          schedule: "0 3 * * *"
          suspend: true
          jobTemplate:
            spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: pause}]}}}
        """)
    )
    for document in documents:
        utils.create_from_dict(api, document, namespace=namespace)
    apps = client.AppsV1Api(api)
    assert apps.read_namespaced_deployment("db", namespace).spec.strategy.type == "RollingUpdate"
    scaled = apps.patch_namespaced_deployment_scale("db", namespace, {"spec": {"replicas": 0}})
    assert scaled.spec.replicas in (0, None)
    assert client.BatchV1Api(api).read_namespaced_cron_job("nightly", namespace).spec.suspend is True
    assert core.read_namespaced_service("db", namespace).spec.ports[0].target_port == 5432


def test_who_may_do_what(api: client.ApiClient, namespace: str) -> None:
    review = client.AuthorizationV1Api(api).create_self_subject_access_review(
        client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(
                resource_attributes=client.V1ResourceAttributes(verb="create", resource="pods", namespace=namespace)
            )
        )
    )
    assert review.status.allowed is True
    whoami = client.AuthenticationV1Api(api).create_self_subject_review(client.V1SelfSubjectReview())
    assert "system:authenticated" in whoami.status.user_info.groups


def test_a_service_account_logs_in_with_a_token(api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_service_account(
        namespace, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot"))
    )
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", namespace, request).status.token
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": f"Bearer {token}"}
    robot = client.CoreV1Api(client.ApiClient(settings))
    with pytest.raises(ApiException) as forbidden:
        robot.list_namespaced_pod(namespace)
    assert forbidden.value.status == 403
    rules = client.RbacAuthorizationV1Api(api)
    subjects = [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    rules.create_namespaced_role_binding(
        namespace,
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "robot-views"},
            "subjects": subjects,
            "roleRef": role,
        },
    )
    assert robot.list_namespaced_pod(namespace).items == []


INSIDE = """
from kubernetes import client, config
config.load_incluster_config()
core = client.CoreV1Api()
namespace = open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read()
print("sees", [pod.metadata.name for pod in core.list_namespaced_pod(namespace).items])
try:
    core.list_node()
except client.ApiException as error:
    print("nodes:", error.status)
"""


def test_a_program_in_a_pod_is_its_service_account(
    api: client.ApiClient, core: client.CoreV1Api, namespace: str
) -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "default-views"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    }
    client.RbacAuthorizationV1Api(api).create_namespaced_role_binding(namespace, binding)
    container = {"name": "main", "image": "example.com/official-client:1", "command": ["python", "-c", INSIDE]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "inside"}}
    pod["spec"] = {"restartPolicy": "Never", "containers": [container]}
    core.create_namespaced_pod(namespace, pod)
    for event in watch.Watch().stream(
        core.list_namespaced_pod, namespace, field_selector="metadata.name=inside", timeout_seconds=110
    ):
        if event["object"].status.phase in ("Succeeded", "Failed"):
            break
    assert core.read_namespaced_pod_log("inside", namespace) == "sees ['inside']\nnodes: 403\n"


def test_logs_of_a_running_container(core: client.CoreV1Api, pod: client.V1Pod) -> None:
    text = core.read_namespaced_pod_log(pod.metadata.name, "default", tail_lines=10)
    assert isinstance(text, str)


def test_exec(core: client.CoreV1Api, pod: client.V1Pod) -> None:
    def run(*command: str, **options: Any) -> Any:
        return stream(
            core.connect_get_namespaced_pod_exec,
            pod.metadata.name,
            "default",
            command=list(command),
            stderr=True,
            stdin=options.pop("stdin", False),
            stdout=True,
            tty=False,
            **options,
        )

    assert run("echo", "hello") == "hello\n"
    session = run("sh", "-c", "read line; echo got $line; echo wrong >&2; exit 3", stdin=True, _preload_content=False)
    session.write_stdin("a line\n")
    session.run_forever(timeout=20)
    assert (session.read_stdout(), session.read_stderr()) == ("got a line\n", "wrong\n")
    assert session.returncode == 3


def test_port_forward(core: client.CoreV1Api, pod: client.V1Pod) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod.metadata.name, "default", ports="80")
    connection = forward.socket(80)
    connection.setblocking(True)
    connection.sendall(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
    answer = b""
    while piece := connection.recv(1024):
        answer += piece
    connection.close()
    assert b"Welcome" in answer
    assert forward.error(80) is None


def test_proxies_to_pods_and_services(core: client.CoreV1Api, pod: client.V1Pod) -> None:
    page = core.connect_get_namespaced_pod_proxy_with_path(f"{pod.metadata.name}:80", "default", "index.html")
    assert "Welcome" in page


def test_discovery_and_version(api: client.ApiClient) -> None:
    version = client.VersionApi(api).get_code()
    assert (version.major, version.platform.partition("/")[0]) == ("1", "linux")
    groups = client.ApisApi(api).get_api_versions().groups
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= {group.name for group in groups}
