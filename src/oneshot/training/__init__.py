"""Classic training and Reptile meta-training, and the loop around both: progress, checkpoints, resuming.

Nothing here measures; `evaluation` does.
"""
