"""What probes and lifecycle hooks do: run a command, ask over HTTP or gRPC, open a connection, wait.

::

    probe / run_hook (calls)
        exec                 a command in the container
        http1, http2         one request on one connection; http2 with the header compression of hpack
        grpc                 the health service of gRPC
"""
