"""``homeport controllers``: controllers as a process of their own, against any cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from homeport.cli import options
from homeport.kube import durations
from homeport.settings import GANG_SCHEDULERS

_NAMESPACE = "homeport-system"


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "controllers",
        help="run training and Volcano controllers against any cluster",
        description="Run controllers against the cluster of a kubeconfig until Ctrl-C. Start as many as you like: one "
        "of them acts, by a Lease. `homeport controllers manifests` prints what the cluster has to be given first.",
    )
    parser.add_argument(
        "action", nargs="?", choices=("run", "manifests"), default="run", help="run them, or print manifests for them"
    )
    parser.add_argument(
        "--only",
        type=_names,
        metavar="NAME[,NAME]",
        default=(),
        help="training, trainer (both by default), mpi, jobset, volcano",
    )
    parser.add_argument(
        "--gang-scheduler",
        choices=GANG_SCHEDULERS,
        default="",
        help="place all pods of a training job together or none: each job gets a PodGroup of this kind; none: only "
        "jobs that ask for it (default: no job can have one)",
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: as kubectl, or the pod's account")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    parser.add_argument(
        "--namespace", metavar="NAME", default=_NAMESPACE, help=f"of the account and the lease (default: {_NAMESPACE})"
    )
    parser.add_argument(
        "--kubernetes",
        metavar="RELEASE",
        help="of manifests: the cluster's release, such as 1.24 (default: the newest)",
    )
    parser.add_argument("--image", help="of manifests: also a Deployment of this image, which has Homeport in it")
    parser.add_argument("--install", action="store_true", help="create definitions that the cluster lacks, then run")
    parser.add_argument(
        "--bind-address", metavar="IP", default="127.0.0.1", help="where to listen (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--metrics-port",
        type=options.port,
        metavar="N",
        default=8080,
        help="/metrics, /healthz, /readyz (8080; 0: any free)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--webhook-url", type=_url, metavar="URL", help="how the cluster reaches webhooks")
    where.add_argument("--webhook-service", metavar="NAME", help="service of the namespace that leads to webhooks")
    parser.add_argument(
        "--webhook-port", type=options.port, metavar="N", default=9443, help="where webhooks listen (9443)"
    )
    parser.add_argument(
        "--leader-elect", action=argparse.BooleanOptionalAction, default=True, help="whether to wait for the lease"
    )
    for name, seconds, help in (
        ("lease-duration", 15.0, "how long others wait for a leader that is silent"),
        ("renew-deadline", 10.0, "how long a leader tries to renew the lease"),
        ("retry-period", 2.0, "time between two tries"),
    ):
        parser.add_argument(
            f"--leader-elect-{name}", type=_seconds, metavar="TIME", default=seconds, help=f"{help} ({seconds:g}s)"
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL like https://HOST:PORT")
    return text


def _seconds(text: str) -> float:
    try:
        found = durations.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not more than nothing")
    return found


def main(args: argparse.Namespace) -> int:
    # Controllers are most of what there is to import: only this verb pays for it.
    from homeport.kube import yamltext
    from homeport.kube.errors import Permanent
    from homeport.standalone import deployment, manifests, parts, releases, running

    chosen = parts.ganged(parts.chosen(args.only), args.gang_scheduler)
    webhooks = bool(args.webhook_url or args.webhook_service)
    if args.action == "manifests":
        try:
            release = releases.minor(args.kubernetes) if args.kubernetes else None
        except ValueError as error:
            raise Permanent(f"--kubernetes: {error}") from error
        for manifest in manifests.manifests(chosen, args.namespace, webhooks=webhooks, release=release):
            sys.stdout.write("---\n" + yamltext.dump(manifest).decode())
        if args.image:
            deployed = deployment.Deployed(
                args.image, webhook_service=args.webhook_service or "", gang_scheduler=args.gang_scheduler
            )
            for manifest in deployment.manifests(chosen, deployed, args.namespace):
                sys.stdout.write("---\n" + yamltext.dump(manifest).decode())
        return 0
    times = (args.leader_elect_lease_duration, args.leader_elect_renew_deadline, args.leader_elect_retry_period)
    if args.leader_elect and not times[0] > times[1] > times[2]:
        raise Permanent("--leader-elect-lease-duration > --leader-elect-renew-deadline > --leader-elect-retry-period")
    wanted = running.Options(
        parts=chosen,
        kubeconfig=args.kubeconfig,
        context=args.context,
        namespace=args.namespace,
        election=running.Election(*times) if args.leader_elect else None,
        address=args.bind_address,
        metrics_port=args.metrics_port,
        webhook_port=args.webhook_port,
        webhook_url=args.webhook_url or "",
        webhook_service=args.webhook_service or "",
        install=args.install,
    )
    return running.run(wanted, lambda line: print(line, flush=True))
