"""Lists out of table and log: of subjects, of recorded decisions, and of people who wait for a decision.

Conditions come in; out go rows of text, to a screen or a file, a group of chunks at a time.
"""
