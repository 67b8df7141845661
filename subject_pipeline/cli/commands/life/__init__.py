"""Commands of the life of a record: decisions, reviews, erasure, and what a person may ask for."""
