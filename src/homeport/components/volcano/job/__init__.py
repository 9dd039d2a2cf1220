"""Volcano jobs."""
