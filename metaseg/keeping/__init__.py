"""The store as something one keeps: lists of runs, studies side by side, what nothing names, bundles to publish."""
