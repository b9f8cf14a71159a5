"""Builders: one recipe, several ways to make an image of it."""
