"""Everything that Dagster loads: datasets as YAML, resources as code."""
