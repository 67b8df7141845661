"""Erasure: people who are erased and not registered again, and the certificates that say so.

Orders come in, one at a time or in bulk. Each erasure is recorded in the subject's chain; then the table and what is
staged follow. Out go certificates, once a look at every object of the store has found no trace of the person.
"""
