"""What the product does, for every shell alike: the command line and Dagster call these."""
