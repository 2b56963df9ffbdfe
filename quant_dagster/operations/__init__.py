"""Running the desk: notifications, reports, lineage, SQL models, verification.

Belongs here: what people see and are told. Does not: anything a trade depends on.
"""
