"""Studies: planning the runs of the arms, executing a run, and predicting with it."""
