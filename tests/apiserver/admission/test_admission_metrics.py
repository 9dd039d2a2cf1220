"""What admission counts, under kube-apiserver's names, and what it leaves in the audit log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from api_testing import Caller, Clock, config_map, make_server, with_default_namespace
from policy_testing import binding, install, policy
from webhook_testing import WebhookServer, allow, deny, mutating, patch, rule, validating

from homeport.apiserver.audit.opening import open_auditor
from homeport.settings import AuditSettings
from homeport.store.memory import MemoryStore

MAPS = "/api/v1/namespaces/default/configmaps"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"


async def register(api: Caller, *configurations: dict[str, Any]) -> None:
    for each in configurations:
        path = "mutatingwebhookconfigurations" if "Mutating" in each["kind"] else "validatingwebhookconfigurations"
        (await api.post(f"{CONFIGURATIONS}/{path}", each)).ok(201)


async def figures(api: Caller) -> dict[str, float]:
    """The samples of ``/metrics``, but for buckets and sums."""
    text = (await api.get("/metrics")).body.decode()
    samples = re.findall(r"^(apiserver_(?:validating_)?admission_\w+|pod_security_\w+)(\{.*\})? (\S+)$", text, re.M)
    return {name + labels: float(value) for name, labels, value in samples if not name.endswith(("_bucket", "_sum"))}


async def test_steps_and_plugins_are_timed(api: Caller) -> None:
    before = await figures(api)
    (await api.post(MAPS, config_map("a"))).ok(201)
    (await api.post("/api/v1/namespaces/gone/configmaps", config_map("a"))).error(404, "NotFound")
    after = await figures(api)
    grown = {key for key in after if after[key] != before.get(key, 0)}
    head = "apiserver_admission_"
    for labels in (
        'type="admit",operation="CREATE",rejected="false"',
        'type="validate",operation="CREATE",rejected="false"',
    ):
        assert f"{head}step_admission_duration_seconds_count{{{labels}}}" in grown
        assert f'{head}controller_admission_duration_seconds_count{{name="NamespaceLifecycle",{labels}}}' in grown
    refused = 'type="admit",operation="CREATE",rejected="true"'
    assert f"{head}step_admission_duration_seconds_count{{{refused}}}" in grown
    assert f'{head}controller_admission_duration_seconds_count{{name="NamespaceLifecycle",{refused}}}' in grown
    # Who has no say in a phase is not asked in it, and webhooks are in both.
    names = {match[1] for key in grown if (match := re.search(r'\{name="(\w+)",type="admit"', key))}
    assert {"MutatingAdmissionPolicy", "MutatingAdmissionWebhook"} < names
    assert "ValidatingAdmissionPolicy" not in names


async def test_what_comes_of_asking_webhooks(api: Caller, hook: WebhookServer) -> None:
    hook.on("/change", lambda request: patch(request, {"op": "add", "path": "/data/x", "value": "1"}))
    hook.on("/no", lambda request: deny(request, code=418) if request["name"] == "b" else allow(request))
    hook.on("/broken", lambda request: b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n")
    only_c = [{"name": "c", "expression": "object.metadata.name == 'c'"}]
    await register(
        api,
        mutating("m", hook.webhook("/change")),
        validating(
            "v",
            hook.webhook("/no"),
            hook.webhook("/broken", failurePolicy="Ignore"),
            {**hook.webhook("/broken", matchConditions=only_c), "name": "strict.example.com"},
        ),
    )
    (await api.post(MAPS, config_map("a"))).ok(201)
    await api.post(MAPS, config_map("b"))
    (await api.post(MAPS, config_map("c"))).error(500, "InternalError", "strict.example.com")
    found = await figures(api)
    head = "apiserver_admission_webhook_"

    def asked(name: str, type: str, code: int, rejected: str) -> float:
        labels = f'name="{name}",type="{type}",operation="CREATE",code="{code}",rejected="{rejected}"'
        return found.get(f"{head}request_total{{{labels}}}", 0)

    assert asked("change.example.com", "admit", 200, "false") == 3
    assert asked("no.example.com", "validating", 200, "false") == 2
    assert asked("no.example.com", "validating", 418, "true") == 1
    assert asked("broken.example.com", "validating", 502, "false") == 3
    assert asked("strict.example.com", "validating", 502, "true") == 1
    rejection = (
        f'{head}rejection_count{{name="%s",type="validating",operation="CREATE",error_type="%s",rejection_code="%d"}}'
    )
    assert found[rejection % ("no.example.com", "no_error", 418)] == 1
    assert found[rejection % ("strict.example.com", "calling_webhook_error", 502)] == 1
    assert found[f'{head}fail_open_count{{name="broken.example.com",type="validating"}}'] == 3
    duration = f"{head}admission_duration_seconds_count"
    assert found[f'{duration}{{name="change.example.com",type="admit",operation="CREATE",rejected="false"}}'] == 3
    condition = 'name="strict.example.com",kind="webhook",type="validate",operation="CREATE"'
    assert found[f"apiserver_admission_match_condition_exclusions_total{{{condition}}}"] == 2
    assert found[f"apiserver_admission_match_condition_evaluation_seconds_count{{{condition}}}"] == 3


async def test_findings_of_policies(api: Caller) -> None:
    await install(
        api,
        policy("object.metadata.name != 'bad'", name="strict"),
        binding("strict-b", "strict", ("Deny", "Audit")),
        policy("object.data.missing == '1'", name="lax", failurePolicy="Ignore"),
        binding("lax-b", "lax"),
    )
    (await api.post(MAPS, config_map("good"))).ok(201)
    await api.post(MAPS, config_map("bad"))
    found = await figures(api)
    head = "apiserver_validating_admission_policy_check_total"

    def checks(policy: str, error: str, action: str) -> float:
        labels = f'policy="{policy}",policy_binding="{policy}-b",error_type="{error}",enforcement_action="{action}"'
        return found.get(f"{head}{{{labels}}}", 0)

    assert checks("strict", "no_error", "deny") == checks("strict", "no_error", "audit") == 1
    assert checks("lax", "invalid_error", "allow") == 2


async def test_annotations_of_webhooks_and_policies_reach_the_audit_log(
    hook: WebhookServer, clock: Clock, tmp_path: Path
) -> None:
    hook.on("/note", lambda request: allow(request, auditAnnotations={"ticket": "4711"}))
    hook.on("/change", lambda request: patch(request, {"op": "add", "path": "/data/x", "value": "1"}))
    store, log = MemoryStore(), tmp_path / "audit.log"
    server = make_server(store, clock, auditor=open_auditor(AuditSettings(str(log))))
    api = await with_default_namespace(Caller(server, store, clock))
    await register(api, mutating("m", hook.webhook("/change")), validating("v", hook.webhook("/note", rules=[rule()])))
    await install(
        api,
        policy(
            "object.metadata.name != 'bad'",
            name="p.example.com",
            auditAnnotations=[{"key": "size", "valueExpression": "string(object.data.size())"}],
        ),
        binding("b", "p.example.com", ("Audit",)),
    )
    (await api.post(MAPS, config_map("bad"))).ok(201)
    await server.close()
    await store.close()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    (event,) = [event for event in events if event["requestURI"] == MAPS]
    notes = event["annotations"]
    assert notes["note.example.com/ticket"] == "4711"
    assert notes["p.example.com/size"] == "2"
    assert json.loads(notes["mutation.webhook.admission.k8s.io/round_0_index_0"]) == {
        "configuration": "m",
        "webhook": "change.example.com",
        "mutated": True,
    }
    (failure,) = json.loads(notes["validation.policy.admission.k8s.io/validation_failure"])
    assert (failure["policy"], failure["binding"], failure["validationActions"]) == ("p.example.com", "b", ["Audit"])
