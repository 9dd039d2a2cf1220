"""Calls to webhooks: HTTPS servers that take part in admission or convert objects."""
