"""The tree of checkpoints: one leaf a checkpoint, in the order in which they were signed.

Statements come in, as the bytes that are hashed. Out go the tree's head, which is what a note signs, and the paths that
show a leaf in the tree and a smaller tree within a larger one.
"""
