"""The pages: the yard in a browser."""
