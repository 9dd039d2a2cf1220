"""One asynchronous client, two transports: HTTP to any Kubernetes, in process to our own server."""
