"""The one client of registries: who one is there, what they say, blobs and manifests both ways."""
