"""What Dagster's own records say of earlier runs: partitions, verifications, attempts and trouble."""
