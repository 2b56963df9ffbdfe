"""Dagster resources: the desk's parts handed to assets and sensors.

Belongs here: how the domain is opened inside Dagster. Does not: what it does.
"""
