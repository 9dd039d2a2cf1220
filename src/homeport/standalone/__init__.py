"""Controllers as a process of their own, against any cluster: ``homeport controllers``.

Nothing in here knows whose API server it is. `parts` says what can be run, `access` and `manifests` what a cluster has
to be given for it, `running` runs it, `serving` answers probes, Prometheus and the cluster's webhooks.
"""
