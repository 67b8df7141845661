"""Objects: bytes under keys, on a local disk or in a bucket, written once or replaced whole.

An address comes in, an `ObjectStore` goes out. Its promise is the same everywhere: what was acknowledged lasts, one of
two creators wins, and an outcome that is not known is reported as unknown.
"""
