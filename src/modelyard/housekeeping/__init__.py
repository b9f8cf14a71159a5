"""What a yard clears away by itself: what is old, and what nothing needs any more. `keeper` is the way in."""
