"""Kubernetes objects in protobuf: ``application/vnd.kubernetes.protobuf``.

An object on the wire is four magic bytes and a ``runtime.Unknown``: the object's type and its own message. Typed Go
clients (kubectl from 1.32 on, helm) send built-in kinds this way. Objects are dicts as JSON has them, so decoding gives
what the same client would have sent as JSON: Go's zero values are written or left out by the rules of its JSON tags.

Pure, and loaded when the first such body comes. :mod:`~homeport.kube.protobuf.table` knows the messages,
:mod:`~homeport.kube.protobuf.decode` and :mod:`~homeport.kube.protobuf.encode` translate.
"""
