"""A definition with two versions that a webhook converts, its objects, and what the webhook answers."""

from __future__ import annotations

import json
from typing import Any

from webhook_testing import WebhookServer

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
V1, V2 = (f"/apis/stable.example.com/{version}/namespaces/default/hosts" for version in ("v1", "v2"))


def definition(hook: WebhookServer, storage: str = "v1") -> dict[str, Any]:
    def version(name: str, **properties: Any) -> dict[str, Any]:
        root = {"type": "object", "properties": properties}
        fields = [{"jsonPath": f".{field}"} for field in properties if field != "extra"]
        kept = {"storage": name == storage, "schema": {"openAPIV3Schema": root}}
        return {"name": name, "served": True, **kept, "selectableFields": fields}

    string = {"type": "string"}
    config = {"url": f"https://127.0.0.1:{hook.port}/convert", "caBundle": hook.authority.bundle}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.stable.example.com"},
        "spec": {
            "group": "stable.example.com",
            "names": {"plural": "hosts", "kind": "Host"},
            "scope": "Namespaced",
            "versions": [
                version("v1", hostPort=string),
                version("v2", host=string, port=string, extra={"type": "string", "default": "d"}),
            ],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1", "v1beta1"]},
            },
        },
    }


def v1(name: str, host_port: str) -> dict[str, Any]:
    return {
        "apiVersion": "stable.example.com/v1",
        "kind": "Host",
        "metadata": {"name": name},
        "hostPort": host_port,
    }


def v2(name: str, host: str, port: str) -> dict[str, Any]:
    return {
        "apiVersion": "stable.example.com/v2",
        "kind": "Host",
        "metadata": {"name": name},
        "host": host,
        "port": port,
    }


def convert(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
    rest = {key: value for key, value in obj.items() if key not in ("hostPort", "host", "port")} | {
        "apiVersion": wanted
    }
    if wanted.endswith("v2"):
        host, _, port = obj["hostPort"].partition(":")
        return rest | {"host": host, "port": port, "unknown": 1}
    return rest | {"hostPort": f"{obj['host']}:{obj['port']}"}


def review(request: dict[str, Any], objects: list[Any], **result: Any) -> bytes:
    response = {"uid": request["uid"], "result": result or {"status": "Success"}, "convertedObjects": objects}
    body = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response}
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
