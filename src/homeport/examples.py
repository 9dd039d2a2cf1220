"""Where the examples are: in the checkout that this runs from, else in the installed package."""

from __future__ import annotations

from pathlib import Path

from homeport.kube.errors import Permanent

FIRST = "01-tfjob.yaml"


def directory() -> Path:
    """The directory with the examples' manifests. Raises Permanent if the installation lacks it."""
    package = Path(__file__).parent
    for place in (package.parents[1] / "examples", package / "_examples"):
        if (place / FIRST).is_file():
            return place
    raise Permanent(f"the examples are missing: neither in {package / '_examples'} nor in a checkout. Install again.")


def images() -> tuple[Path, ...]:
    """Directories with the image files that the examples need; none where the examples were left out."""
    try:
        return (directory() / "images",)
    except Permanent:
        return ()
