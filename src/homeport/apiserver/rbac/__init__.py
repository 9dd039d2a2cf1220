"""Role-based access control, evaluated as Kubernetes evaluates it (upstream: ``plugin/pkg/auth/authorizer/rbac``).

`rules` says what one rule allows and which rules cover others, `index` keeps the stored roles and bindings at hand,
`authorizer` decides, `escalation` keeps users from giving away more than they have, `policy` and `controllers` are the
default roles, which `reconcile` compares with the stored ones and `bootstrap` writes.
"""
