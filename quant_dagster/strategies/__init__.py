"""What the desk would like to do: alphas, the pairs they trade, what they were worth, and the router between them.

Belongs here: views on symbols, how far each is heard, and the words of a decision. Does not: how much to hold
(``risk.sizing``), whether it may be held (``risk.gate``), or where the inputs are read from (``cycle``).
"""
