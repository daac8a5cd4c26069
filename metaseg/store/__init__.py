"""The store: what is done, what is missing, who has claimed it."""
