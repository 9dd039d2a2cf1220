"""How long until the API answers after `homeport up`, and what an idle platform costs.

The limits are the ones that we set ourselves: a second, 150 MB, 1 % of a core. The peer is a bare Python that imports
what the platform imports and does nothing.
"""

from __future__ import annotations

import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import harness

_STILL_SECONDS = 2.0
_LONGEST_SECONDS = 30.0


def first_request(directory: Path) -> float:
    """Seconds from the start of the process to the first answered request, asked for as soon as the port is known."""
    begin = time.perf_counter()
    running = harness.start(directory)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only the time is looked at
    context.load_cert_chain(running.directory.pki / "admin.crt", running.directory.pki / "admin.key")
    endpoint = running.directory.endpoint()
    assert endpoint is not None
    try:
        with urllib.request.urlopen(f"{endpoint.url}/readyz", context=context, timeout=30) as answer:
            assert answer.status == 200
        return time.perf_counter() - begin
    finally:
        running.process.terminate()
        running.process.wait(timeout=60)


def bare_python() -> float:
    """Seconds that an interpreter takes that imports the platform's modules and ends."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import homeport.platform.running"], check=True, env=harness.ENVIRONMENT)
    return time.perf_counter() - begin


def settle(running: harness.Running) -> None:
    """Wait until nothing is done any more: what a start leaves behind for later is not idleness."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    used, still = -1.0, time.monotonic()
    while time.monotonic() - still < _STILL_SECONDS and time.monotonic() < deadline:
        time.sleep(0.1)
        now = harness.cpu_seconds(running.processes())
        if now > used + 0.01:
            used, still = now, time.monotonic()


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--idle", type=float, default=20.0, help="seconds over which idleness is measured")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as place:
        first = first_request(Path(place) / "data")
        again = statistics.median(first_request(Path(place) / "data") for _ in range(3))
        imports = statistics.median(bare_python() for _ in range(3))
        with harness.platform(Path(place) / "settled") as running:
            settle(running)
            fresh = harness.memory(running.processes())
        with harness.platform(Path(place) / "settled") as running:
            settle(running)
            pids = running.processes()
            memory = harness.memory(pids)
            before, begin = harness.cpu_seconds(pids), time.perf_counter()
            time.sleep(options.idle)
            share = (harness.cpu_seconds(running.processes()) - before) / (time.perf_counter() - begin)
    figures = [
        harness.Figure("up to first request, new directory", first, "s", "limit", 1.0),
        harness.Figure("up to first request, again", again, "s", "limit", 1.0),
        harness.Figure("of which importing", imports, "s", "up", again),
        harness.Figure("memory, idle, new directory", fresh / 1e6, "MB", "limit", 150.0),
        harness.Figure(f"memory, idle, again ({len(pids)} processes)", memory / 1e6, "MB", "limit", 150.0),
        harness.Figure(f"CPU, idle for {options.idle:.0f} s", 100 * share, "% of a core", "limit", 1.0),
    ]
    harness.report("Start and idleness", figures, options)


if __name__ == "__main__":
    main()
