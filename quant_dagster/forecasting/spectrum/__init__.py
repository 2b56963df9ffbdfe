"""Singular spectrum analysis: what a series repeats, of one (``singular``) and of groups of series (``multivariate``).

Belongs here too: when a series leaves the span of its own past (``change_points``), and what is then done with its
forecast (``intervention``). Does not: Fourier harmonics and wavelet scales (``forecasting.filtered``).
"""
