"""From an approved order to a booked fill: the order state machine, the order log, brokers and the execution desk.

Belongs here: sending, tracking and settling orders. Does not: deciding them (``strategies``) or
allowing them (``risk``).
"""
