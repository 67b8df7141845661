"""Anchoring: what a verification found sound is signed, so that nothing of it can vanish unnoticed.

Findings come in, chunk by chunk. Out go the next checkpoint, signed by a key ring and written before its note, what
nobody needs of earlier ones, and proofs of what it says of one subject.
"""
