"""What a run leaves for people: classic beside meta, tables, pictures, model cards.

It measures nothing anew.
"""
