"""Importers: each reads a published on-disk layout, as it is, into a manifest with its classes."""
