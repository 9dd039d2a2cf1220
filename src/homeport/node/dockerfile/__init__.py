"""Building images from Dockerfiles: text -> lines -> instructions -> stages -> layers.

The language is that of Docker's Dockerfile reference, as BuildKit's frontend reads it.
"""
