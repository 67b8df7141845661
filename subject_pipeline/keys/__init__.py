"""Keys: the ring with which the audit log is authenticated and its checkpoints are signed.

A file that only its owner may read comes in; out go MACs, each under a domain of its own, and the signing key. Keys are
rotated here, and no message ever holds one.
"""
