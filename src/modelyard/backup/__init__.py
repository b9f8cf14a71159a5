"""A whole yard in one file: written while it runs, checked, and put back, into this database or another kind."""
