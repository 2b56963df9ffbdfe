"""What is shown of a period: the HTML report, and the pictures that assets carry.

Belongs here: ``page`` puts the report together, ``content`` reads, ``tables`` and ``figures`` say how a table and a
figure are made, ``headline`` sums up, every other module is a section; ``charts`` and ``risk_charts`` are PNGs. Does
not: working out what is shown (the domain), telling people of events (``operations.alerts``).
"""
