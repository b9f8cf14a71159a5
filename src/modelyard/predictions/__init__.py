"""Predictions: one call of a model's version, from its acceptance to exactly one terminal status."""
