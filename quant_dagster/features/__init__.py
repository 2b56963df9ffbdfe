"""What the models look at: compiled kernels over the panel, the list of features, and the Feast feature store.

Here belongs everything that turns bars into numbers known at the close of the same session: kernels (``rolling``,
``recursive``, ``cross_section``), calendar features, the registry of definitions, and how values are stored and
served. What is predicted from features is in ``forecasting``; whether a bar can be trusted is in ``quality``.
"""
