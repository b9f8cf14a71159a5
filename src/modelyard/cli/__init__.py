"""The command `yard`."""
