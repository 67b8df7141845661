"""Effects: parquet sources, the object store, the Delta table."""
