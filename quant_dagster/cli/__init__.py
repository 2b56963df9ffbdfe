"""The ``quant`` command: reads options, calls the domain, prints tables or JSON. No rule of trading lives here.

Exit codes: 0 done; 1 a verification failed; 2 wrong usage or configuration; 3 data unavailable or malformed;
4 trading refused (risk, order or control); 5 ledger, books or audit in trouble; 130 interrupted.
"""
