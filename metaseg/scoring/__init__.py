"""Extra scores of stored runs."""
