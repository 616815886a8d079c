"""What counts say of a model: how right it is, and how its window differs from its baseline.

Pure arithmetic on counts per bin, in the standard library alone. Nothing here reads a row, knows HTTP or loads NumPy.
"""
