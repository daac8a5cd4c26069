"""Figures of a report, one kind per module: `build_*` makes a matplotlib figure, `draw_*` its PNG with a title."""
