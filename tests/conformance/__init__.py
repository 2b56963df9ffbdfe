"""What every broker must do, whoever it is: the same rules for all of them, through one harness a broker.

Belongs here: rules the desk relies on. Does not: what only one broker does (its own tests).
"""
