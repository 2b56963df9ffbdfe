"""Vendors: one module per source of prices, each an implementation of ``protocol.Vendor``.

A vendor says what its source says. Which rows are fit to store is decided in ``market_data.screening``, which
vendor wins a session in ``market_data.vendor_choice``.
"""
