"""Where the arithmetic is done: device, precision and threads, and the processes that share a training.

Another device or number of threads may change last bits, and nothing else.
"""
