"""What the Dagster UI shows: numbers to plot, tables, checks."""
