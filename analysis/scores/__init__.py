"""Scores of images, from counts, and their matrix of runs by units."""
