"""Checkpoints: one signed note over every subject's chain and manifest, and proofs that lead to it.

Roster entries come in; leaves, a root and a signed note go out to the store, and inclusion proofs to anyone who
asks. Anyone with the public key can check them.
"""
