"""A store's studies as one page that refreshes itself: `metaseg watch`."""
