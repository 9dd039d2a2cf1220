"""Volcano jobs at fixed times: ``cronjobs.batch.volcano.sh``."""
