"""The learned forecast: what trees see in the features, judged only on sessions that they were not shown.

Here: the data set, features made from features, folds that keep outcomes apart, selection, training, and the files of
trained models. Not here: the features themselves (``features``), how a session asks for a forecast
(``forecasting.families.boosting``), and what trading makes of it (``strategies``).
"""
