"""Sensors and schedules: what starts runs, and what tells people.

Belongs here: when. Does not: what (that is in ``assets`` and the domain).
"""
