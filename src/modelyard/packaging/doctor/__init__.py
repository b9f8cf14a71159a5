"""What is wrong with a project and how to mend it, from its text alone: nothing of the model is imported or run."""
