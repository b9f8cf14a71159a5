"""Managed weights: what cog.yaml says of them, their lock, the local store, and the registry that holds them."""
