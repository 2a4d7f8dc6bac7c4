"""A trained network adapts to unseen classes from a few support images: a linear map, or all its weights.

Calibration and evaluation both measure what comes of it.
"""
