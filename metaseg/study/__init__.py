"""Studies: arms become runs; running one, and predicting with it."""
