"""A model's source text, read and never executed.

`shapes`, `document` and `batching` are links to the files of that name in the SDK: what a type means and how the
document looks is written once, although the host must not import the model's package.
"""
