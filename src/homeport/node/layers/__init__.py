"""Layers of images as directories that overlayfs reads: unpacked from archives, copied into, packed again.

A program of its own (``python -m homeport.node.layers``) does it, since the files of an image have owners: an ordinary
user can make them only as root of a user namespace, the same one that the pods have. Besides Python's library it
uses only what it shares with :mod:`homeport.node.sandbox`.
"""
