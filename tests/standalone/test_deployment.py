"""The controllers as a Deployment: what it starts is a command line that there is, with rights that it needs."""

from __future__ import annotations

import argparse

from homeport.cli import controllers
from homeport.kube import core
from homeport.kube.meta import name
from homeport.standalone import deployment, manifests, parts


def test_the_pod_starts_what_was_asked_for() -> None:
    chosen = parts.chosen(["training", "trainer"])
    service, made = deployment.manifests(
        chosen, deployment.Deployed("homeport:1", webhook_service="hooks", gang_scheduler="volcano"), "there"
    )
    parser = argparse.ArgumentParser()
    controllers.add_parser(parser.add_subparsers())
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][0] == "homeport"
    args = parser.parse_args(container["command"][1:])
    assert (args.only, args.namespace, args.webhook_service) == (("training", "trainer"), "there", "hooks")
    assert args.gang_scheduler == "volcano"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": args.metrics_port, "webhooks": args.webhook_port}
    probes = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert probes == [{"path": "/livez", "port": "metrics"}, {"path": "/readyz", "port": "metrics"}]
    assert pod["serviceAccountName"] == manifests.NAME
    assert (name(service), service["spec"]["ports"][0]["port"]) == ("hooks", 443)
    assert service["spec"]["selector"] == made["spec"]["template"]["metadata"]["labels"]
    assert not list(core.DEPLOYMENT.validate(core.DEPLOYMENT.prepare(made, None), None))


def test_without_webhooks_there_is_no_service() -> None:
    (made,) = deployment.manifests(parts.chosen(["training"]), deployment.Deployed("homeport:1"))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert not [word for word in container["command"] if "webhook" in word]
