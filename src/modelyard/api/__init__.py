"""The HTTP API: Replicate's v1 over the nouns."""
