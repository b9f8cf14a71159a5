"""The engine of containers: an instance is a container of the Docker Engine, which outlives the yard."""
