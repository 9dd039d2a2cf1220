"""Run every benchmark, one after the other, and print the table that the README quotes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "startup.py",
    "api_server.py",
    "store_scale.py",
    "pod_start.py",
    "node_start.py",
    "node_warm.py",
    "gang_start.py",
    "many_jobs.py",
    "training_controller.py",
    "workloads.py",
    "batch_scheduling.py",
)


def main() -> int:
    here = Path(__file__).parent
    rows, machine = [], ""
    for script in SCRIPTS:
        print(f"{script} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, str(here / script), "--json"], stdout=subprocess.PIPE, check=False)
        if done.returncode:
            return done.returncode
        told = json.loads(done.stdout)
        machine = told["machine"]
        rows += [(told["title"], one) for one in told["figures"]]
    print(f"Measured on {machine}.\n")
    print("| | measured | against | ratio |\n|---|---|---|---|")
    for _, one in rows:
        value, unit = one["value"], one["unit"]
        number = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        print(f"| {one['name']} | {number} {unit} | {one['against']}: {one['peer']:g} {unit} | {one['ratio']:.2g} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
