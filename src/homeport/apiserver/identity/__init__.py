"""Who makes a request, beyond static tokens and certificates: service accounts, OpenID Connect, impersonation."""
