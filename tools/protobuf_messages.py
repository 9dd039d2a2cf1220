"""Makes the tables in ``src/homeport/kube/protobuf/messages``: how Kubernetes' built-in messages look on the wire.

Usage: ``python tools/protobuf_messages.py UPSTREAM``

UPSTREAM is a directory with checkouts of four repositories of the Kubernetes project, by name: ``api``,
``apimachinery``, ``apiextensions-apiserver`` and ``kube-aggregator``. Of each API package two files are read:
``generated.proto`` (numbers and types of the fields) and ``types*.go`` (whose tags say how a field is called in JSON,
whether it is written inline, and whether its zero value is written). Of ``register.go`` comes the name of the group.

The tables are facts about the wire format, and nothing but these; ``homeport.kube.protobuf.table`` has their grammar.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OUT = Path(__file__).parents[1] / "src/homeport/kube/protobuf/messages"

META = "apimachinery/pkg/apis/meta/v1"
PACKAGES = (
    *(
        f"api/{name}"
        for name in (
            "admissionregistration/v1",
            "apps/v1",
            "authentication/v1",
            "authorization/v1",
            "autoscaling/v1",
            "autoscaling/v2",
            "batch/v1",
            "certificates/v1",
            "coordination/v1",
            "core/v1",
            "discovery/v1",
            "events/v1",
            "flowcontrol/v1",
            "networking/v1",
            "node/v1",
            "policy/v1",
            "rbac/v1",
            "resource/v1",
            "scheduling/v1",
            "scheduling/v1alpha3",
            "storage/v1",
            "storagemigration/v1",
        )
    ),
    META,
    "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "kube-aggregator/pkg/apis/apiregistration/v1",
)
"""Directories below UPSTREAM."""

SPECIAL = {
    "k8s.io.apimachinery.pkg.apis.meta.v1.Time": "Time",
    "k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime": "MicroTime",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Duration": "Duration",
    "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1": "Raw",
    "k8s.io.apimachinery.pkg.runtime.RawExtension": "Raw",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "IntOrString",
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "Quantity",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON": "Raw",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "SchemaOrArray",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "SchemaOrBool",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "SchemaOrStrings",
}
"""Messages that code knows, since their JSON is not an object of their fields."""
IGNORED = {"Timestamp", "TypeMeta"}
SCALARS = {"string", "int32", "int64", "bool", "bytes", "double"}

_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.M | re.S)
_FIELD = re.compile(r"^  (optional|repeated|required|map<string, ([.\w]+)>)\s*([.\w]*)\s+(\w+) = (\d+);", re.M)
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.M | re.S)
_ALIAS = re.compile(r"^type (\w+) metav1\.(\w+)$", re.M)
_LIST = re.compile(r"^type (\w+) \[\](\w+)$", re.M)
_TAGGED = re.compile(r"^\s+(?:\w+\s+)?(?P<type>\S+)\s+`(?P<tags>[^`]*)`", re.M)
_TYPE_META = re.compile(r"^\s+(metav1\.)?TypeMeta\s", re.M)
_NAME_OF_GROUP = re.compile(r'GroupName\s*=\s*"([^"]*)"')


class Tag(NamedTuple):
    """What Go's tags say of one field."""

    json: str
    """Empty for a struct that is written inline."""
    go: str
    keeps_zero: bool


def tags(source: str) -> dict[str, dict[str, Tag]]:
    """Of each struct, the fields by their numbers."""
    result: dict[str, dict[str, Tag]] = {}
    for name, body in _STRUCT.findall(source):
        fields = result.setdefault(name, {})
        for match in _TAGGED.finditer(body):
            found = dict(re.findall(r'(\w+):"([^"]*)"', match["tags"]))
            if "protobuf" not in found or "json" not in found:
                continue
            if found["protobuf"] == "-":
                continue
            number = found["protobuf"].split(",")[1]
            json, *options = found["json"].split(",")
            inline = not json and "inline" in options
            zero = "omitempty" not in options and "omitzero" not in options
            fields[number] = Tag("" if inline else json, match["type"], zero)
            if "omitzero" in options:
                fields[number] = fields[number]._replace(go="~" + match["type"])
    return result


def lines(package: str, proto: str, go: str, meta: str) -> Iterator[str]:
    fields_of, wrappers = tags(go), dict(_LIST.findall(go))
    kinds = {name for name, body in _STRUCT.findall(go) if _TYPE_META.search(body)}
    for name, target in _ALIAS.findall(go):
        fields_of[name] = tags(meta)[target]
        kinds.add(name)
    for message, body in _MESSAGE.findall(proto):
        if message in IGNORED or f"{package}.{message}" in SPECIAL:
            continue
        if message in wrappers:
            yield f"{message} = [{wrappers[message]}]"
            continue
        yield f"{message} kind" if message in kinds else message
        for label, mapped, typed, _, number in _FIELD.findall(body):
            tag = fields_of[message][number]
            yield f"  {number} {tag.json or '.'} {field_type(package, label, mapped, typed, tag)}"


def field_type(package: str, label: str, mapped: str, typed: str, tag: Tag) -> str:
    if mapped:
        return f"{{{reference(package, mapped)}}}" + "!" * tag.keeps_zero
    if label == "repeated":
        return f"[{reference(package, typed)}]" + "!" * tag.keeps_zero
    inner = reference(package, typed)
    if tag.go.startswith("*"):
        return inner + "?" + "!" * tag.keeps_zero
    message = inner not in SCALARS and inner.rpartition(":")[2] not in {"ExtraValue", "Verbs"}
    keeps = tag.keeps_zero or (message and not tag.go.startswith("~"))
    return inner + "!" * (keeps and bool(tag.json))


def reference(package: str, name: str) -> str:
    if name in SCALARS:
        return name
    full = name[1:] if name.startswith(".") else f"{package}.{name}"
    if full in SPECIAL:
        return SPECIAL[full]
    home, _, message = full.rpartition(".")
    if home == package:
        return message
    return f"{TABLES[home]}:{message}"


TABLES: dict[str, str] = {}


def main(upstream: Path) -> None:
    sources = {}
    for directory in PACKAGES:
        home = upstream / directory
        files = [*sorted(home.glob("types*.go")), *home.glob("group_version.go"), *home.glob("watch.go")]
        go = "".join(path.read_text() for path in files if not path.name.endswith("_test.go"))
        proto = (home / "generated.proto").read_text()
        package = re.search(r"^package ([\w.]+);", proto, re.M)
        group = _NAME_OF_GROUP.search(
            (home / "register.go").read_text() + "".join(path.read_text() for path in home.parent.glob("register.go"))
        )
        assert package is not None, directory
        assert group is not None, directory
        TABLES[package[1]] = f"{group[1]}.{home.name}".removeprefix(".")
        sources[directory] = (package[1], proto, go)
    OUT.mkdir(parents=True, exist_ok=True)
    for package, proto, go in sources.values():
        (OUT / f"{TABLES[package]}.txt").write_text("\n".join(lines(package, proto, go, sources[META][2])) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
