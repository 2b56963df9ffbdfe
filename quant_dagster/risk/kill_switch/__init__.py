"""What stops trading whatever else is true: the kill file, missing signs of life, the button on the wall.

Belongs here: how a kill is engaged, and whether one holds. Does not: what is allowed then (``risk.permission``) and
who may go back (``risk.control``). Every part fails towards the kill: what cannot be looked at counts as engaged.
"""
