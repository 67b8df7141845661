"""What a person's record was and how it came about: told from the chain, for those who ask.

A candidate id comes in; out go the events of the chain in order of time, the manifest as it was at a time, and the
folder that a person gets who asks what is held about them.
"""
