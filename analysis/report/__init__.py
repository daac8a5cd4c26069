"""The report: its sections, tables, captions and pages."""
