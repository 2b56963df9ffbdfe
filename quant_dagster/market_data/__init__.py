"""Where prices come from: calendars, universes, vendors, ingestion and the panel every kernel works on.

What a price is worth (contracts, detectors, scores) is in ``quality``, not here.
"""
