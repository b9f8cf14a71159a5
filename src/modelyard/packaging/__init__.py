"""From a project on disk to a version: its configuration, its schema, its environment, its layers."""
