"""The audit log: who did what to whose data and with what result, in chains that cannot be altered unnoticed.

Access events come in. Out go rows in create-only segments, one chain a subject and one log a chunk, and an index that
tells a writer where each chain ends; the index is derived and never believed without its MAC.
"""
