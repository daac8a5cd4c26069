"""Scores of images, from counts, and their layout as runs by units."""
