"""Changes of manifests: the log decides, the table follows.

A change that was decided comes in, and is recorded in the audit log with its content before the table may have it.
Out goes what a subject's manifest must be by the rows recorded, for the next who changes it, and for anyone who settles
what was left.
"""
