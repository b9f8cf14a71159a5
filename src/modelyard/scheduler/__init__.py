"""The machine: which prediction runs where and when, and how many instances there are for it."""
