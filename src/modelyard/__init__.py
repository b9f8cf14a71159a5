"""Modelyard: package a model as a container, give it an API, run it and share it."""
