"""The structs of the built-in kinds, by topic.

Names, types and list semantics are those of Kubernetes' own Go types (``k8s.io/api``); the descriptions are ours.
"""
