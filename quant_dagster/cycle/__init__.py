"""One session through every stage, and many sessions in a row.

Belongs here: the order in which the domain's parts are called, shared by the ``quant`` command and the Dagster
assets. Does not: any rule of trading, which is in the package it concerns.
"""
