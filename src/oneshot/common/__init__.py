"""What every package stands on: errors of one line, files written whole, parameters in groups, the frame of a stage.

Nothing here changes a figure, so no stage but `check_params` depends on it.
"""
