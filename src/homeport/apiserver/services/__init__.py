"""Cluster IPs and node ports of services, given out by the API server as it stores them.

`pools` is a range of numbers and who has them; `families` and `assign` say what a service gets, pure apart from the
pools; `allocation` keeps the pools in step with what is stored. (Upstream: ``pkg/registry/core/service``.)
"""
