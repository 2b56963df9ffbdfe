"""What people are told of, each event once: of the market's data, the models, risk and execution.

Belongs here: finding what is worth telling, and sending it (``notifications``). Does not: acting on it.
"""
