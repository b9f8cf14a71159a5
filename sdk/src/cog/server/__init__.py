"""Where Cog has its server, for those who start it by that name."""
