"""The trained networks at work on people's own pictures: the Python class and the command `oneshot`.

It needs a model file, and no run of the pipeline.
"""

from oneshot.recognizer.gallery import Gallery
from oneshot.recognizer.recognizer import Recognizer

__all__ = ["Gallery", "Recognizer"]
