"""Commands that look back: what happened to a record, who looked, and what a person is given who asks."""
