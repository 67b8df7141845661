"""The assets, ops and jobs that a platform brings: each calls a stage and says what came of it."""
