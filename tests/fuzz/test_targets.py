"""Readers of bytes: the corpus, bytes near it, and (slow) what atheris finds in some seconds.

Longer campaigns are in CONTRIBUTING.md.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from environments import python_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import CORPUS, TARGETS, check, corpus

SECONDS = int(os.environ.get("HOMEPORT_FUZZ_SECONDS", "0"))
"""Of each target's campaign. Without it, a campaign is short and always the same: what it finds is a change's fault."""
RUNS = 10_000
ATHERIS = ("atheris==3.0.0", "msgspec", "httptools", "uvloop", "cryptography", "PyYAML", "google-re2", "uv")
SLOWEST = 0.5
"""Seconds of CPU for one input."""


def test_every_target_has_a_corpus() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    for data in corpus(name):
        begin = time.process_time()
        check(name, data)
        assert time.process_time() - begin < SLOWEST, data[:200]


def near(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes near those of the corpus: cut, joined, repeated, with others in between."""
    seed = st.sampled_from(seeds)
    piece = st.one_of(
        st.binary(max_size=8),
        seed,
        st.builds(lambda data, at, size: data[at : at + size], seed, st.integers(0, 60), st.integers(0, 40)),
        st.builds(lambda data, times: data[:3] * times, seed, st.integers(1, 3000)),
    )
    spliced = st.builds(
        lambda data, at, gone, new: data[:at] + new + data[at + gone :],
        seed, st.integers(0, 200), st.integers(0, 20), piece,
    )  # fmt: skip
    return spliced | st.lists(piece, max_size=5).map(b"".join) | st.binary(max_size=60)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bytes_near_the_corpus(name: str, data: st.DataObject) -> None:
    sent = data.draw(near(corpus(name)))
    begin = time.process_time()
    check(name, sent)
    assert time.process_time() - begin < SLOWEST


TOGETHER = 1 if SECONDS else 9
NAMES = list(TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("names", [",".join(NAMES[at : at + TOGETHER]) for at in range(0, len(NAMES), TOGETHER)])
def test_campaign(names: str, tmp_path: Path) -> None:
    python = python_with("atheris", *ATHERIS)
    script = Path(__file__).parent / "campaign.py"
    length = (f"-max_total_time={SECONDS}",) if SECONDS else ("-seed=1", f"-runs={RUNS}", "-max_total_time=5")
    done = subprocess.run(
        [python, script, names, *length, "-timeout=5", "-rss_limit_mb=1024", "-max_len=4096"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 300,
        check=False,
    )
    broken = [path for path in tmp_path.glob("*/*-*") if path.is_file()]
    texts = "\n".join(
        f"{path.relative_to(tmp_path)}: {path.read_bytes()[:500]!r}\n{_end_of(path.parent / 'log')}" for path in broken
    )
    assert not broken, texts
    logs = "\n".join(_end_of(path) for path in tmp_path.glob("*/log"))
    assert done.returncode == 0, f"{done.stderr[-2000:]}\n{logs}"


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
