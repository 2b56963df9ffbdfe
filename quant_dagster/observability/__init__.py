"""What happened: the hash-chained audit log and structured logs.

Belongs here: recording and verifying. Does not: deciding who is told (``operations.alerts.notifications``).
"""
