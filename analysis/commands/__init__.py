"""Commands of `analysis`, one module each."""
