"""Books: double-entry postings from fills, positions, profit and loss, end-of-session snapshots.

Belongs here: what money and positions are. Does not: how orders come to be filled (``execution``).
"""
