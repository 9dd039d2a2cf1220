"""The functions that expressions have, one module for each of the libraries that Kubernetes documents."""
