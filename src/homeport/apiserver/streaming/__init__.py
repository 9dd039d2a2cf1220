"""Conversations that are more than a request and an answer: commands in containers, forwarded ports, proxies.

::

    websocket, spdy    wire formats, pure: bytes in, frames out
    session            SPDY's streams on a connection
    channels           a client's streams by name, whichever of the two carries them
    remotecommand      exec and attach: the client's streams to a process and back
    portforward        connections to a pod's ports
    backend            HTTP/1.1 to a pod or service
    proxy              requests passed on to it
    dial               where a pod or service is, and a connection to it
"""
