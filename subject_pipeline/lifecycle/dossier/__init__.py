"""The folder that a person gets who asks what is held about them (GDPR 15 and 20).

A candidate id comes in; out goes a folder with a page to read and the same as files: the manifest, the history, the
accesses, the person's own rows of every dataset, and a proof.
"""
