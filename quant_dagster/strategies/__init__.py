"""What the desk would like to do: alphas, the router that chooses between them, and the words of a decision.

Belongs here: views on symbols. Does not: how much to hold (``risk.sizing``) or whether it may be held (``risk.gate``).
"""
