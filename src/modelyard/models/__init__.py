"""Models and their versions: what can be run."""
