"""Fewer bits: grids, ranges, and the techniques that use them."""
