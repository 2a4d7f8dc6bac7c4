"""Where pictures come from: known data sets over the internet or a mirror, folders of pictures, single files.

Nothing from outside is trusted before it is checked.
"""
