"""Whether a model is worth anything: forecasts of the past as the desk would have made them, judged out of sample.

Belongs here: walk-forward and blocked evaluation with the very function the desk forecasts with, losses, comparisons
with the naive forecast, the trading of a forecast, verdicts and the weights that follow. Does not: models
(``families``), what an equity series says (``accounting``), reading and storing (``cycle.validation``), drift at work
(``drift``).
"""
