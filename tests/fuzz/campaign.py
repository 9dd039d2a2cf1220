"""Coverage-guided fuzzing: ``python tests/fuzz/campaign.py TARGET[,TARGET...] [libFuzzer options]``.

Runs where atheris is installed, which pytest does in an environment of its own (see ``test_targets.py``). To make the
code ready for it takes far longer than to fuzz a target for some seconds, so one process does it for several targets,
each of which then has a child of that process and a folder below the working directory. New inputs go to its folder
``found``; what breaks a target goes to the folder itself as ``crash-*``, ``timeout-*`` or ``oom-*``, with a ``log``.
Ends with 1 if a target was broken.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "apiserver"))  # api_testing.py, samples.py
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

with atheris.instrument_imports(include=["homeport", "yaml"]):
    import targets


def fuzz(name: str, options: list[str]) -> None:
    """Does not return."""
    Path(name, "found").mkdir(parents=True, exist_ok=True)
    os.chdir(name)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    atheris.Setup([sys.argv[0], *options, "found", str(targets.CORPUS / name)], lambda data: targets.check(name, data))
    atheris.Fuzz()


def main() -> None:
    names, *options = sys.argv[1:]
    broken = False
    for name in names.split(","):
        child = os.fork()
        if not child:
            fuzz(name, options)
        _, status = os.waitpid(child, 0)
        broken |= status != 0
    sys.exit(broken)


if __name__ == "__main__":
    main()
