"""Images as the Open Container Initiative defines them: manifests, configurations, layers. No database."""
