"""HTTP/1.1 over TLS on the event loop, and nothing of Kubernetes: bytes to requests, answers to bytes.

`parser` and `target` are pure: bytes to requests. `connection` and `http` read and serve; `outflow`, `head` and `turn`
say when and how answers leave; `bodies` and `duplex` are what streams are made of; `unfinished` and `timer` bound what
clients may hold on to. Beyond this folder, the server sees :class:`~homeport.kube.wire.Request` and
:class:`~homeport.kube.wire.Response` only.
"""
