"""lightkube: strict decoding into structs, apply, watch, wait, logs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from lightkube import ApiError, Client
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod, Secret
from lightkube.types import PatchType


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(field_manager="lightkube")


@pytest.fixture
def namespace(client: Client) -> Iterator[str]:
    name = f"lightkube-{uuid.uuid4().hex[:8]}"
    client.create(Namespace(metadata=ObjectMeta(name=name)))
    yield name
    client.delete(Namespace, name)


def test_objects(client: Client, namespace: str) -> None:
    made = client.create(ConfigMap(metadata=ObjectMeta(name="one", namespace=namespace), data={"a": "1"}))
    made.data["b"] = "2"
    client.replace(made)
    with pytest.raises(ApiError) as conflict:
        client.replace(made)
    assert conflict.value.status.reason == "Conflict"
    client.patch(ConfigMap, "one", {"data": {"a": None}}, namespace=namespace, patch_type=PatchType.MERGE)
    assert client.get(ConfigMap, "one", namespace=namespace).data == {"b": "2"}
    client.patch(
        ConfigMap, "one", [{"op": "remove", "path": "/data/b"}], namespace=namespace, patch_type=PatchType.JSON
    )
    assert not client.get(ConfigMap, "one", namespace=namespace).data
    names = [item.metadata.name for item in client.list(ConfigMap, namespace=namespace, chunk_size=1)]
    assert "one" in names
    client.delete(ConfigMap, "one", namespace=namespace)
    with pytest.raises(ApiError) as gone:
        client.get(ConfigMap, "one", namespace=namespace)
    assert gone.value.status.code == 404


def test_apply_says_who_else_owns_a_field(client: Client, namespace: str) -> None:
    def secret(value: str) -> Secret:
        return Secret(metadata=ObjectMeta(name="s", namespace=namespace), stringData={"password": value})

    client.apply(secret("one"), field_manager="first")
    with pytest.raises(ApiError) as conflict:
        client.apply(secret("two"), field_manager="second")
    assert conflict.value.status.code == 409
    client.apply(secret("two"), field_manager="second", force=True)


def test_every_built_in_list_decodes(client: Client) -> None:
    assert [node.status.nodeInfo.architecture for node in client.list(Node)]
    assert [item.metadata.name for item in client.list(Namespace, labels={"kubernetes.io/metadata.name": "default"})]
    assert list(client.list(Deployment, namespace="*")) == []


def test_custom_resources(client: Client) -> None:
    Job = create_namespaced_resource("kubeflow.org", "v1", "TFJob", "tfjobs")
    assert list(client.list(Job, namespace="*")) == []


def test_watch_wait_and_logs(client: Client, namespace: str) -> None:
    from lightkube.models.core_v1 import Container, PodSpec

    container = Container(name="main", image="busybox", command=["sh", "-c", "echo hello; sleep 60"])
    pod = Pod(metadata=ObjectMeta(name="p", namespace=namespace), spec=PodSpec(containers=[container]))
    client.create(pod)
    ready = client.wait(Pod, "p", for_conditions=["Ready"], namespace=namespace)
    assert ready.status.phase == "Running"
    assert next(iter(client.log("p", namespace=namespace, follow=True))).strip() == "hello"
    for change, seen in client.watch(Pod, namespace=namespace):
        assert (change, seen.metadata.name) == ("ADDED", "p")
        break
    client.delete(Pod, "p", namespace=namespace, grace_period=0)
