"""What Dagster keeps must name nobody and hold no secret: how findings, failures and run config are told."""
