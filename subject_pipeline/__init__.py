"""A subject manifest for every person in a parquet dataset, run as Dagster assets."""
