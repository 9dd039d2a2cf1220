"""The plug-in PodSecurity: the standards, how they are configured, and what is done by them."""
