"""The brokers: one module or folder each, all of them behind the protocol in ``execution/broker.py``.

Belongs here: speaking to one venue, and its error codes. Does not: what an answer means for an order (``desk``).
"""
