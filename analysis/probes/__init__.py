"""Probes of networks and data: told something else, a number swept, what metadata explain."""
