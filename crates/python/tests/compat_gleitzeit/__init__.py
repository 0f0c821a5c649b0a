"""What the Python API of Gleitzeit promises, item by item (spec/gleitzeit.md §8), on every store."""
