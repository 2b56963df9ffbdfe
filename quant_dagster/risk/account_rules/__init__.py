"""The thirteen rules of an account: what they watch, when they bite, and the lockouts that outlive the process.

Belongs here: events, the state they add up to, the rules over it, lockouts, the trading day and its reset, and the
question whether an order may be sent. Does not: the gate's exposure limits and control modes (``risk``), and doing what
a rule asks for (``execution``).
"""
