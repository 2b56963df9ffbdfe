"""Running the desk: alerts, the report, lineage, metrics, SQL models, verification.

Belongs here: what people see and are told. Does not: anything a trade depends on.
"""
