"""What the platform starts: ``python .../sandbox/__main__.py zygote ...``, by its path.

By its path and isolated (``-I -S``), so that neither the environment nor installed packages matter and nothing is loaded
that every pod would then pay for.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit(os.sep, 4)[0])
    from homeport.node.sandbox import zygote

    sys.exit(zygote.main(sys.argv[2:]))
