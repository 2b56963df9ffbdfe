"""Where state lives: the lake (Delta tables of market data) and the ledger (SQL truth about orders and money).

Belongs here: table definitions, transactions, migrations. Does not: what the rows mean (that is the domain's).
"""
