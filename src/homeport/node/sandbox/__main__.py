"""What the platform starts: ``python .../sandbox/__main__.py zygote|probe|engine-net ...``, by its path.

By its path and isolated (``-I -S``), so that neither the environment nor installed packages matter and nothing is
loaded that every pod would then pay for.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit(os.sep, 4)[0])
    if sys.argv[1] == "probe":
        from homeport.node.sandbox import probe

        sys.exit(probe.main(sys.argv[2:]))
    if sys.argv[1] == "engine-net":
        from homeport.node.sandbox import enginenet

        sys.exit(enginenet.main(sys.argv[2:]))
    if sys.argv[1] == "zygote":
        from homeport.node.sandbox import sealing

        sys.exit(sealing.main(sys.argv[2:]))
    if sys.argv[1] == "plain-net":
        from homeport.node.plain import netd

        sys.exit(netd.main(sys.argv[2:]))
    if sys.argv[1] == "plain-probe":
        from homeport.node.plain import notify

        sys.exit(not notify.can_watch())
    if sys.argv[1] == "plain-pod":
        from homeport.node.plain import supervisor

        sys.exit(supervisor.main(sys.argv[2:]))
    from homeport.node.sandbox import zygote

    sys.exit(zygote.serve(sys.argv[2:]))
