"""Dagster assets and asset checks, one module per layer: thin shells over the domain.

Belongs here: names, partitions, metadata, checks. Does not: anything that computes.
"""
