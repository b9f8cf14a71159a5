"""What Cog kept apart from the SDK proper."""
