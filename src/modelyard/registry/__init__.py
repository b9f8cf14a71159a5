"""The registry: images in and out over the protocol of the OCI distribution specification. It knows no models."""
