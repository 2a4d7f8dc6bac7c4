"""How well a network tells classes apart that it never saw: metrics, episodes, calibrated thresholds.

Exact over all pairs and triplets of the test images.
"""
