"""The store as something one keeps: listing its runs, comparing studies, removing what nothing names, bundles to publish."""
