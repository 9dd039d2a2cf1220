"""Readers of bytes that strangers send, each with the errors by which it may refuse them.

Pytest replays the corpus through them and tries bytes near it; ``campaign.py`` lets atheris look for more. A target
that raises anything else, takes seconds or eats memory has found a bug: put its input into ``corpus/TARGET/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from more_targets import MORE

from homeport.apiserver import encoding, listing
from homeport.apiserver.audit import policy
from homeport.apiserver.identity import jose
from homeport.apiserver.streaming import spdy, websocket
from homeport.apiserver.transport import target
from homeport.kube import apply, cel, cron, der, fieldset, jsonpath, managed, quantity, regex, selector, yamltext
from homeport.kube.errors import ApiError
from homeport.kube.patch import json_patch, merge_patch
from homeport.node import imagefile

CORPUS = Path(__file__).parent / "corpus"
DEPTH = 50
THING: Any = {
    "apiVersion": "v1",
    "kind": "Thing",
    "metadata": {"name": "a", "labels": {"app": "web"}, "annotations": {}},
    "spec": {
        "items": [{"name": "x", "ready": True, "size": 3}, {"name": "y", "size": 0.5}],
        "text": "12",
        "none": None,
    },
}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def yaml(data: bytes) -> None:
    value, _ = yamltext.load(data)
    json.dumps(value)  # nothing in it that JSON does not have
    encoding.check_depth([value])


def json_body(data: bytes) -> None:
    encoding.decode_body("application/json", data, find_duplicates=True)


def protobuf(data: bytes) -> None:
    encoding.decode_body(encoding.PROTOBUF, b"k8s\x00" + data)


def patch_json(data: bytes) -> None:
    patch, _ = encoding.decode_json(data)
    encoding.check_depth([patch])
    before = json.dumps(THING)
    try:
        json_patch(THING, patch)
    finally:
        assert json.dumps(THING) == before


def patch_merge(data: bytes) -> None:
    patch, _ = encoding.decode_json(data)
    encoding.check_depth([patch])
    merge_patch(THING, patch)


def quantities(data: bytes) -> None:
    canonical = quantity.canonical(_text(data))
    assert quantity.canonical(canonical) == canonical


def labels(data: bytes) -> None:
    selector.parse_labels(_text(data)).matches({"app": "web", "a": "1"})


def fields(data: bytes) -> None:
    selector.parse_fields(_text(data))


def paths(data: bytes) -> None:
    jsonpath.compile(_text(data))(THING)


def patterns(data: bytes) -> None:
    pattern, _, text = _text(data).partition("\n")
    regex.compile(pattern).search(text)


_ENVIRONMENT = cel.Environment({"object": cel.DYN, "oldObject": cel.DYN})


def expressions(data: bytes) -> None:
    program = _ENVIRONMENT.compile(_text(data), cel.BOOL)
    program.evaluate({"object": THING, "oldObject": None}, cel.Budget(100_000))


def schedules(data: bytes) -> None:
    cron.parse(_text(data))


def tokens(data: bytes) -> None:
    token = jose.parse(data.decode("latin-1"))
    jose.audiences(token.claims)
    jose.moment(token.claims, "exp")


def certificates(data: bytes) -> None:
    with suppress(der.BadCertificate):
        der.parse_request(data)
    der.parse(data)


def continuations(data: bytes) -> None:
    listing._decode_token(_text(data))


def request_targets(data: bytes) -> None:
    path, query = target.parse_target(data)
    assert "\x00" not in path
    assert isinstance(query, tuple)


def managed_fields(data: bytes) -> None:
    decoded, _ = encoding.decode_json(data)
    encoding.check_depth([decoded])
    found = fieldset.decode(decoded)
    list(fieldset.paths(found))
    assert fieldset.difference(found, found) == {}
    entry = {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": decoded}
    stored = [each.encoded() for each in managed.read([entry], trusted=False)]
    live = {**THING, "metadata": {**THING["metadata"], "managedFields": stored}}
    wanted = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"text": "13"}}
    apply.apply(live, wanted, "m", True, None, None, _NOW)


def websockets(data: bytes) -> None:
    parser = websocket.Parser()
    for at in range(0, len(data), 7):  # in pieces, as they come
        for piece in parser.feed(data[at : at + 7]):
            assert len(piece.data) <= len(data)


def spdy_frames(data: bytes) -> None:
    parser = spdy.Parser()
    for at in range(0, len(data), 7):
        for _ in parser.feed(data[at : at + 7]):
            pass


def audit_policies(data: bytes) -> None:
    document, _ = yamltext.load(data)
    if isinstance(document, dict):
        policy.read(document)


def image_files(data: bytes) -> None:
    document, _ = yamltext.load(data)
    imagefile.parse(document, Path("image.yaml"))


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 11, 22, tzinfo=UTC)


_NOW = _now()

TARGETS: Mapping[str, tuple[Callable[[bytes], None], tuple[type[Exception], ...]]] = {
    "yaml": (yaml, (ApiError,)),
    "json": (json_body, (ApiError,)),
    "protobuf": (protobuf, (ApiError,)),
    "json-patch": (patch_json, (ApiError,)),
    "merge-patch": (patch_merge, (ApiError,)),
    "quantity": (quantities, (ValueError,)),
    "labels": (labels, (ApiError,)),
    "fields": (fields, (ApiError,)),
    "jsonpath": (paths, (ValueError,)),
    "regex": (patterns, (regex.PatternError,)),
    "cel": (expressions, (cel.CelError, cel.EvaluationError, cel.BudgetExceeded)),
    "cron": (schedules, (ValueError,)),
    "token": (tokens, (jose.BadToken,)),
    "certificate": (certificates, (der.BadCertificate,)),
    "continue": (continuations, (ApiError,)),
    "target": (request_targets, (target.BadTarget,)),
    "managed-fields": (managed_fields, (ApiError, ValueError)),
    "websocket": (websockets, (websocket.ProtocolError,)),
    "spdy": (spdy_frames, (spdy.ProtocolError,)),
    "audit-policy": (audit_policies, (ApiError,)),
    "image-file": (image_files, (ApiError, imagefile.ImageFileError)),
    **MORE,
}


def check(name: str, data: bytes) -> None:
    """Give `data` to a target. Raises what it raises but by which it may refuse."""
    run, refusals = TARGETS[name]
    with suppress(refusals):
        run(data)


def corpus(name: str) -> list[bytes]:
    """The inputs that are kept for a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
