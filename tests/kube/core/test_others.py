"""Services, config, nodes, events and the rest."""

from __future__ import annotations

from typing import Any

import pytest
from core_testing import admitted, complaints, row

from homeport.kube import core


class TestService:
    def test_defaults(self):
        spec = admitted(core.SERVICE, {"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "web"}]}})["spec"]
        assert spec == {
            "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 81, "targetPort": "web", "protocol": "TCP"},
            ],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
        }

    def test_headless(self):
        spec = {"clusterIP": "None", "selector": {"a": "b"}}
        assert admitted(core.SERVICE, {"spec": spec})["spec"]["clusterIPs"] == ["None"]
        assert complaints(core.SERVICE, {"spec": spec}) == []

    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ({}, ["spec.ports: Required value"]),
            (
                {"ports": [{"port": 0}]},
                [
                    "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
                ],
            ),
            (
                {"ports": [{"port": 1}, {"port": 2}]},
                ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
            ),
            (
                {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]},
                ['spec.ports[1]: Duplicate value: {"protocol":"TCP","port":1}'],
            ),
            ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
            (
                {"type": "Odd", "ports": [{"port": 1}]},
                [
                    'spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", '
                    '"LoadBalancer", "NodePort"'
                ],
            ),
        ],
    )
    def test_rules(self, spec, expected):
        assert complaints(core.SERVICE, {"spec": spec}) == expected

    def test_the_address_stays(self):
        old = admitted(core.SERVICE, {"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 1}]}})
        new = {**old, "spec": {**old["spec"], "clusterIP": "10.0.0.2"}}
        assert complaints(core.SERVICE, new, old) == [
            'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
        ]

    def test_columns(self):
        spec = {
            "type": "NodePort",
            "clusterIP": "10.0.0.1",
            "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            "selector": {"b": "2", "a": "1"},
        }
        assert row(core.SERVICE, {"spec": spec}) == {
            "Name": "x",
            "Type": "NodePort",
            "Cluster-IP": "10.0.0.1",
            "External-IP": "<none>",
            "Port(s)": "80:30000/TCP,53/UDP",
            "Age": "5m",
            "Selector": "a=1,b=2",
        }
        assert row(core.SERVICE, {"spec": {"type": "LoadBalancer"}})["External-IP"] == "<pending>"

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("10.1.2.3", ""),
            ("2001:db8::1", ""),
            ("pod", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            ("0.0.0.0", "may not be unspecified (0.0.0.0 or ::)"),
            ("127.0.0.2", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("::ffff:127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("169.254.169.254", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            ("ff02::1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ],
    )
    def test_endpoints_are_not_the_machine_itself(self, address, words):
        subset = {"notReadyAddresses": [{"ip": address}], "ports": [{"port": 80}]}
        at = "subsets[0].notReadyAddresses[0].ip"
        expected = [f'{at}: Invalid value: "{address}": {words}'] if words else []
        assert complaints(core.ENDPOINTS, {"subsets": [subset]}) == expected
        kind = "IPv6" if ":" in address else "IPv4"
        found = complaints(core.ENDPOINT_SLICE, {"addressType": kind, "endpoints": [{"addresses": [address]}]})
        said = "must be a valid IPv4 address" if address == "pod" else words
        place = "endpoints[0].addresses[0]"
        assert found == ([f'{place}: Invalid value: "{address}": {said}'] if words else [])
        assert not complaints(core.ENDPOINT_SLICE, {"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}]})

    def test_endpoints_have_addresses_and_named_ports(self):
        assert complaints(core.ENDPOINTS, {"subsets": [{"ports": [{"port": 80}, {"port": 0, "name": "a"}]}]}) == [
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            "subsets[0].ports[0].name: Required value",
            "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ]

    def test_endpoints_column(self):
        subset = {"addresses": [{"ip": "10.0.0.1"}, {"ip": "::1"}], "ports": [{"port": 80}, {"port": 81}]}
        assert row(core.ENDPOINTS, {"subsets": [subset]})["Endpoints"] == "10.0.0.1:80,[::1]:80,10.0.0.1:81 + 1 more..."
        assert row(core.ENDPOINTS, {})["Endpoints"] == "<none>"


class TestConfig:
    def test_string_data_goes_into_data(self):
        secret = admitted(core.SECRET, {"data": {"a": "b2xk", "b": "Yg=="}, "stringData": {"a": "new"}})
        assert secret["data"] == {"a": "bmV3", "b": "Yg=="}
        assert secret["type"] == "Opaque"
        assert "stringData" not in secret

    def test_keys(self):
        (message,) = complaints(core.CONFIG_MAP, {"data": {"a b": ""}})
        assert message.startswith('data[a b]: Invalid value: "a b": a valid config key must consist of')
        assert complaints(core.CONFIG_MAP, {"data": {"a": ""}, "binaryData": {"a": ""}}) == [
            'data[a]: Invalid value: "a": duplicate of key present in binaryData'
        ]

    def test_size(self):
        assert complaints(core.CONFIG_MAP, {"data": {"a": "x" * (1 << 20), "b": "x"}}) == [
            "[]: Too long: may not be more than 1048576 bytes"
        ]

    @pytest.mark.parametrize("kind", [core.CONFIG_MAP, core.SECRET], ids=["configmap", "secret"])
    def test_immutable(self, kind):
        old = admitted(kind, {"data": {"a": "Yg=="}, "immutable": True})
        assert complaints(kind, {**old, "data": {}}, old) == [
            "data: Forbidden: field is immutable when `immutable` is set"
        ]
        assert complaints(kind, {**old, "immutable": False}, old) == [
            "immutable: Forbidden: field is immutable when `immutable` is set"
        ]
        assert complaints(kind, {**old, "metadata": {"name": "x", "labels": {"a": "b"}}}, old) == []

    def test_types_of_secrets_need_their_entries(self):
        assert complaints(core.SECRET, {"type": "kubernetes.io/tls"}) == [
            "data[tls.crt]: Required value",
            "data[tls.key]: Required value",
        ]
        config = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "aHVudGVyMg=="}}
        assert complaints(core.SECRET, config) == [
            'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": must be JSON'
        ]

    def test_the_type_of_a_secret_stays(self):
        old = admitted(core.SECRET, {})
        assert complaints(core.SECRET, {**old, "type": "other"}, old) == [
            'type: Invalid value: "other": field is immutable'
        ]

    def test_namespaces(self):
        namespace = admitted(core.NAMESPACE, {})
        assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
        assert namespace["spec"] == {"finalizers": ["kubernetes"]}
        assert row(core.NAMESPACE, namespace)["Status"] == "Active"
        finalized = {**namespace, "spec": {"finalizers": []}}
        assert admitted(core.NAMESPACE, finalized, namespace)["spec"] == {"finalizers": []}

    def test_columns(self):
        assert row(core.CONFIG_MAP, {"data": {"a": ""}, "binaryData": {"b": ""}})["Data"] == 2
        assert row(core.SECRET, {"type": "Opaque", "data": {"a": ""}}) == {
            "Name": "x",
            "Type": "Opaque",
            "Data": 1,
            "Age": "5m",
        }


def test_node_columns():
    node = {
        "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"},
        },
    }
    assert row(core.NODE, node) == {
        "Name": "x",
        "Status": "Ready,SchedulingDisabled",
        "Roles": "control-plane,worker",
        "Age": "5m",
        "Version": "v1.37.0",
        "Internal-IP": "10.0.0.1",
        "External-IP": "<none>",
        "OS-Image": "Debian",
        "Kernel-Version": "<unknown>",
        "Container-Runtime": "<unknown>",
    }
    assert row(core.NODE, {})["Status"] == "Unknown"


def test_event_columns():
    event = {
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off restarting failed container\n",
        "firstTimestamp": "2026-11-03T11:50:00Z",
        "lastTimestamp": "2026-11-03T11:59:30Z",
        "count": 4,
        "source": {"component": "kubelet", "host": "n"},
    }
    expected = {
        "Last Seen": "30s",
        "Type": "Warning",
        "Reason": "BackOff",
        "Object": "pod/p",
        "Subobject": "spec.containers{a}",
        "Source": "kubelet, n",
        "Message": "Back-off restarting failed container",
        "First Seen": "10m",
        "Count": "4",
        "Name": "x",
    }
    assert row(core.EVENT, event) == expected
    newer = {
        "regarding": event["involvedObject"],
        "type": "Warning",
        "reason": "BackOff",
        "note": event["message"],
        "eventTime": "2026-11-03T11:50:00.000000Z",
        "series": {"count": 4, "lastObservedTime": "2026-11-03T11:59:30.000000Z"},
        "reportingController": "kubelet",
        "reportingInstance": "n",
    }
    assert row(core.EVENTS_V1, newer) == expected


def test_claims():
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    stored = admitted(core.PERSISTENT_VOLUME_CLAIM, claim)
    assert stored["spec"]["volumeMode"] == "Filesystem"
    assert stored["status"] == {"phase": "Pending"}
    assert complaints(core.PERSISTENT_VOLUME_CLAIM, claim) == []
    assert complaints(core.PERSISTENT_VOLUME_CLAIM, {"spec": {}}) == [
        "spec.accessModes: Required value: at least 1 access mode is required",
        "spec.resources[storage]: Required value",
    ]
    shrunk = {**stored, "spec": {**stored["spec"], "resources": {"requests": {"storage": "512Mi"}}}}
    assert complaints(core.PERSISTENT_VOLUME_CLAIM, shrunk, stored) == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]


def test_roles_and_bindings():
    assert complaints(core.ROLE, {"rules": [{"verbs": ["get"], "resources": ["pods"]}]}) == [
        "rules[0].apiGroups: Required value: resource rules must supply at least one api group"
    ]
    binding = {
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
    }
    stored = admitted(core.ROLE_BINDING, binding)
    assert stored["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert [subject.get("apiGroup") for subject in stored["subjects"]] == ["rbac.authorization.k8s.io", None]
    sent_empty = {**binding, "roleRef": {**binding["roleRef"], "apiGroup": ""}}  # as typed clients send it
    assert admitted(core.ROLE_BINDING, sent_empty)["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert complaints(core.ROLE_BINDING, binding) == []
    assert row(core.ROLE_BINDING, stored)["ServiceAccounts"] == "n/s"
    other = {**stored, "roleRef": {**stored["roleRef"], "name": "other"}}
    (message,) = complaints(core.ROLE_BINDING, other, stored)
    assert message.endswith("cannot change roleRef")


def test_limit_ranges_default_from_their_bounds():
    item = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}
    (stored,) = admitted(core.LIMIT_RANGE, {"spec": {"limits": [item]}})["spec"]["limits"]
    assert stored["default"] == {"cpu": "2"}
    assert stored["defaultRequest"] == {"memory": "1Mi", "cpu": "2"}


def definition(**spec: Any) -> Any:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
    }
    names = {"plural": "things", "kind": "Thing"}
    return {
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version], **spec},
    }


class TestDefinition:
    def schema(self, schema: Any) -> list[str]:
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        root = "spec.versions[0].schema.openAPIV3Schema"
        return [text.removeprefix(root) for text in complaints(core.CRD, definition(versions=[version]))]

    def test_names_follow_from_the_kind(self):
        spec = admitted(core.CRD, definition())["spec"]
        assert spec["names"] == {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"}
        assert spec["conversion"] == {"strategy": "None"}
        assert complaints(core.CRD, definition()) == []

    def test_rules(self):
        assert complaints(core.CRD, {**definition(), "metadata": {"name": "other"}}) == [
            'metadata.name: Invalid value: "other": must be spec.names.plural+"."+spec.group'
        ]
        assert complaints(core.CRD, definition(scope="Odd")) == [
            'spec.scope: Unsupported value: "Odd": supported values: "Cluster", "Namespaced"'
        ]
        assert complaints(core.CRD, definition(versions=[])) == [
            "spec.versions: Invalid value: []: must have exactly one version marked as storage version"
        ]

    def test_schemas_are_structural(self):
        assert self.schema({"type": "object", "properties": {"a": {"type": "string"}}}) == []
        assert self.schema({"type": "object", "properties": {"a": {}}}) == [
            ".properties[a].type: Required value: must not be empty for specified object fields"
        ]
        assert self.schema({"type": "object", "properties": {"a": {"$ref": "#/x", "type": "object"}}}) == [
            ".properties[a].$ref: Forbidden: $ref is not supported"
        ]
        assert self.schema({"type": "object", "properties": {"a": {"type": "array"}}}) == [
            ".properties[a].items: Required value: must be specified"
        ]
        either = [{"properties": {"a": {"type": "string"}}}]
        assert self.schema({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": either}) == [
            ".anyOf[0].properties[a].type: Forbidden: must be empty to be structural"
        ]
        keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
        items = {"type": "object", "properties": {"k": {"type": "string"}}}
        assert self.schema({"type": "object", "properties": {"a": {"type": "array", "items": items, **keys}}}) == [
            ".properties[a].items.properties[k].default: Required value: this property is in "
            "x-kubernetes-list-map-keys, so it must have a default or be a required property"
        ]
        number = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
        assert self.schema({"type": "object", "properties": {"a": number}}) == []

    def test_a_stored_version_stays(self):
        old = {**admitted(core.CRD, definition()), "status": {"storedVersions": ["v0"]}}
        (message,) = complaints(core.CRD, old, old)
        assert message.startswith('status.storedVersions[0]: Invalid value: "v0": missing from spec.versions')


class TestPriorityLevel:
    def test_an_exempt_level_has_defaults_for_all_that_it_says(self):
        said = {"type": "Exempt", "limited": {"limitResponse": {"type": "Queue"}}}
        spec = admitted(core.PRIORITY_LEVEL, {"spec": said})["spec"]
        assert spec["exempt"] == {"nominalConcurrencyShares": 0, "lendablePercent": 0}
        assert spec["limited"]["limitResponse"]["queuing"] == {"queues": 64, "handSize": 8, "queueLengthLimit": 50}
