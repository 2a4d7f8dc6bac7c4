"""The Siamese network and what trains it: losses, optimizers, the file that a trained network is kept in.

It knows nothing of data sets or of the order of training.
"""
