"""What may be traded and how much: control modes, limits, sizing, CVaR, and the one gate every order passes.

Belongs here: verdicts. Does not: making orders of them (``execution``) or wanting them (``strategies``).
"""
