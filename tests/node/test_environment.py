from __future__ import annotations

import base64
from typing import Any

import pytest

from homeport.node.environment import PATH, ImageConfig, arguments, hostname, startup
from homeport.node.references import Ref, Sources, Unresolved, container_refs, format_map, pod_field

POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "namespace": "team",
        "uid": "u-1",
        "labels": {"app": "x", "b": 'say "hi"'},
        "annotations": {"note": "two\nlines"},
    },
    "spec": {
        "serviceAccountName": "trainer",
        "containers": [
            {
                "name": "main",
                "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "250m"}},
            },
            {"name": "free"},
        ],
    },
}
CONFIG = Ref("ConfigMap", "settings")
SECRET = Ref("Secret", "keys")
SOURCES = Sources(
    pod=POD,
    objects={
        CONFIG: {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"mode": "fast", "bad=name": "x"}},
        SECRET: {
            "kind": "Secret",
            "metadata": {"name": "keys"},
            "data": {"token": base64.b64encode(b"s3cret").decode()},
        },
    },
    allocatable={"cpu": "8", "memory": "16Gi"},
    node_name="n1",
    host_ip="10.42.0.1",
    pod_ip="10.42.0.9",
)


def env_of(*env: dict[str, Any], env_from: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, str]:
    container = {"name": "main", "command": ["x"], "env": list(env), "envFrom": env_from or [], **more}
    return dict(startup(container, ImageConfig(env={"IMAGE": "yes", "HOME": "/img"}), SOURCES, api=None).env)


def test_defaults_image_and_pod_in_this_order() -> None:
    env = env_of({"name": "IMAGE", "value": "no"})
    assert env == {"PATH": PATH, "HOME": "/img", "HOSTNAME": "p", "IMAGE": "no"}


def test_api_server_variables_are_under_the_pods_own() -> None:
    container = {"name": "main", "command": ["$(KUBERNETES_SERVICE_HOST)"], "env": [{"name": "KUBERNETES_PORT"}]}
    start = startup(container, ImageConfig(), SOURCES, api=("10.42.0.1", 6443))
    assert start.argv == ("10.42.0.1",)
    assert start.env["KUBERNETES_SERVICE_PORT"] == "6443"
    assert start.env["KUBERNETES_PORT"] == ""


def test_variables_see_those_above_them() -> None:
    env = env_of(
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)$(C)"},
        {"name": "C", "value": "$$(A)"},
        {"name": "A", "value": "$(A)1"},
    )
    assert (env["A"], env["B"], env["C"]) == ("11", "1$(C)", "$(A)")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "team"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "x"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", "two\nlines"),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "trainer"),
        ("status.hostIP", "10.42.0.1"),
        ("status.podIP", "10.42.0.9"),
    ],
)
def test_field_refs(path: str, value: str) -> None:
    assert env_of({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}})["X"] == value


def test_unknown_field_is_named() -> None:
    with pytest.raises(Unresolved, match=r"spec\.nope"):
        pod_field("spec.nope", SOURCES)


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "1024"),
        ({"resource": "requests.cpu", "divisor": "1m"}, "250"),
        ({"resource": "requests.memory"}, str(1 << 30)),
        ({"resource": "limits.cpu", "containerName": "free"}, "8"),
        ({"resource": "requests.cpu", "containerName": "free", "divisor": "0"}, "0"),
    ],
)
def test_resource_field_refs(selector: dict[str, str], value: str) -> None:
    assert env_of({"name": "X", "valueFrom": {"resourceFieldRef": selector}})["X"] == value


def key_ref(kind: str, name: str, key: str, optional: bool = False) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {kind: {"name": name, "key": key, "optional": optional}}}


def test_keys_of_config_maps_and_secrets() -> None:
    assert env_of(key_ref("configMapKeyRef", "settings", "mode"))["X"] == "fast"
    assert env_of(key_ref("secretKeyRef", "keys", "token"))["X"] == "s3cret"
    assert "X" not in env_of(key_ref("configMapKeyRef", "nope", "mode", optional=True))
    assert "X" not in env_of(key_ref("secretKeyRef", "keys", "nope", optional=True))


@pytest.mark.parametrize(
    ("variable", "message", "waits_for"),
    [
        (key_ref("configMapKeyRef", "nope", "k"), 'configmap "nope" not found', Ref("ConfigMap", "nope")),
        (key_ref("secretKeyRef", "nope", "k"), 'secret "nope" not found', Ref("Secret", "nope")),
        (key_ref("secretKeyRef", "keys", "k"), "couldn't find key k in Secret team/keys", SECRET),
        (key_ref("configMapKeyRef", "settings", "k"), "couldn't find key k in ConfigMap team/settings", CONFIG),
    ],
)
def test_missing_references_in_the_kubelets_words(variable: dict[str, Any], message: str, waits_for: Ref) -> None:
    with pytest.raises(Unresolved) as caught:
        env_of(variable)
    assert str(caught.value) == message
    assert caught.value.waits_for == waits_for


def test_env_from_with_prefix_and_names_left_out() -> None:
    container = {
        "name": "main",
        "command": ["x"],
        "envFrom": [
            {"configMapRef": {"name": "settings"}, "prefix": "P_"},
            {"secretRef": {"name": "keys"}},
            {"configMapRef": {"name": "nope", "optional": True}},
        ],
        "env": [{"name": "token", "value": "mine"}],
    }
    start = startup(container, ImageConfig(), SOURCES, api=None)
    assert start.env["P_mode"] == "fast"
    assert start.env["token"] == "mine"
    assert start.skipped == ("P_bad=name",)
    assert set(container_refs(container)) == {CONFIG, SECRET, Ref("ConfigMap", "nope")}
    with pytest.raises(Unresolved, match='configmap "nope" not found'):
        env_of(env_from=[{"configMapRef": {"name": "nope"}}])


IMAGE = ImageConfig(command=("entry",), args=("default",), working_dir="/srv")


@pytest.mark.parametrize(
    ("container", "argv"),
    [
        ({}, ("entry", "default")),
        ({"args": ["a"]}, ("entry", "a")),
        ({"command": ["c"]}, ("c",)),
        ({"command": ["c"], "args": ["$(N)"]}, ("c", "5")),
    ],
)
def test_command_and_args_against_the_images(container: dict[str, Any], argv: tuple[str, ...]) -> None:
    assert arguments(container, IMAGE, {"N": "5"}) == argv


def test_no_command_at_all() -> None:
    with pytest.raises(Unresolved, match="no command specified"):
        arguments({}, ImageConfig(), {})


def test_working_directory() -> None:
    assert startup({"name": "m"}, IMAGE, SOURCES, api=None).cwd == "/srv"
    assert startup({"name": "m", "workingDir": "/w"}, IMAGE, SOURCES, api=None).cwd == "/w"
    assert startup({"name": "m", "command": ["x"]}, ImageConfig(), SOURCES, api=None).cwd == "/"


def test_host_name() -> None:
    assert hostname({"metadata": {"name": "a" * 62 + ".b"}}, "") == "a" * 62
    assert hostname({"metadata": {"name": "x"}, "spec": {"hostname": "h"}}, "") == "h"


def test_maps_are_written_as_the_downward_api_does() -> None:
    assert format_map(POD["metadata"]["labels"]) == 'app="x"\nb="say \\"hi\\""'
    assert format_map(POD["metadata"]["annotations"]) == 'note="two\\nlines"'
