"""Imports: many manifests that another system wrote.

Documents come in, one a line. Each is read, compared with the manifest that is there, and recorded in the log before it
is committed; out go counts in which every line is found once, and the lines that were refused with the reason.
"""
