"""Engines start instances: child processes here; containers and clusters are further adapters of the same port."""
