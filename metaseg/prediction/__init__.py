"""Trained networks at work: ensembles, the images to segment, what is written of them, responses to metadata."""
