"""The record of experiments, and the parts of the pages that are made from it.

For scripts alone: no stage imports it.
"""
