"""From the text of cog.yaml to checked values: the tree with its lines, and the rules of every key."""
