"""Data: the manifest, its decoding and splitting, the prepared dataset, and the batches cut from it."""
