"""A gateway of Interactive Brokers on this machine: it speaks the TWS protocol to unmodified clients.

It is the simulator for whoever has no account, fed by real bars, and the adversary of the tests, which can make
everything go wrong that goes wrong with a real gateway.

Belongs here: the protocol as a server speaks it, the simulated account and market behind it, and the faults. Does
not: the client's side (an adapter of ``execution``), nor anything that decides about orders.
"""
