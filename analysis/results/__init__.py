"""Results: what stores and tables hold, collected into one Parquet dataset."""
