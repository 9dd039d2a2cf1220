"""One asynchronous client, two transports: HTTP to any Kubernetes, in process to our own server.

`client.Client` is the face; `http.HttpTransport` and `local.LocalTransport` carry its requests; `kubeconfig` reads and
writes kubeconfig files.
"""
