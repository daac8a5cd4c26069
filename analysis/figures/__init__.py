"""Figures of a report, one kind a module: `build_*` makes a matplotlib figure, `draw_*` its PNG with a title."""
