"""Execution algorithms: an order the gate approved whole, worked in slices that are ordinary orders.

Belongs here: the state machine of such a parent order, its events in the ledger, and when how much of it is due. All
of it is a function of the parent, of what its slices have done, and of the market; nothing is remembered elsewhere, so
the same call after a crash names the same slice. Does not: making, sending and pricing the slices (``desk``), or
allowing them (``risk``).
"""
