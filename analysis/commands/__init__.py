"""What `analysis` can be asked to do: a module each."""
