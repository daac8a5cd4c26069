"""From the store's finished runs to tables, tests and figures. Reads Parquet; needs neither torch nor Ray."""
