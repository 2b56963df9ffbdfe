"""Servers and data that tests run against: real PostgreSQL, loopback servers that speak a vendor's own protocol."""
