"""What stands between the desk and a service that may fail: retries, breaker, bulkhead, request budget, health.

Belongs here: how often, how many at once and whether at all a service is asked, and how well it answered. Does not:
what it is asked, how its answer is read (``market_data.vendors``), or which service is taken instead
(``market_data.failover``). Code outside asks a service through `guard.ServiceGuard` and nothing else.
"""
