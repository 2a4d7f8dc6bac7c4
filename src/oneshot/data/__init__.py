"""A data set as arrays, which class and image may be used for what, and the batches that are drawn of them.

Every draw is a function of the seed and of its place in a run.
"""
