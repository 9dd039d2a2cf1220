"""Jobs that follow one another: ``flow.volcano.sh``."""
