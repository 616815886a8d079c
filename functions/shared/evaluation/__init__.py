"""Figures of a model, from counts: how right it is, and how far a window has drifted from the baseline.

Pure arithmetic on counts per bin, in the standard library alone. Nothing here reads a row, knows HTTP or loads NumPy.
"""
