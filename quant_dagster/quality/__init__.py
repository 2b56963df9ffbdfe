"""What prices are worth: contracts, detectors, the quality score, and expectations about distributions.

Where prices come from, and which vendor rows are fit to store at all, is in ``market_data``. What the desk does with
a low score is decided in ``strategies`` and ``risk``.
"""
