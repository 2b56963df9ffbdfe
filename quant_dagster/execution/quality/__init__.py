"""How well orders were executed: benchmarks, the split of what trading cost, the cost model, best execution.

Belongs here: what an order that was worked cost against what its decision saw, and what the next one will probably
cost. Does not: how good market data is (``quality``), what the paper broker charges (``execution.costs``), and reading
lake and settings for a session (``cycle.execution_quality``).
"""
