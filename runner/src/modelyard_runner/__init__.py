"""The program in the box: a worker that holds a model, and the server that stands before it."""
