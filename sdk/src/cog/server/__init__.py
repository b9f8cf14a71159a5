"""The names of Cog's own server; what holds a model here is another program."""
