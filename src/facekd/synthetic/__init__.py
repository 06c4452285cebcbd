"""Synthetic faces with exact landmarks: for the demo and the tests, without a photo of anyone.

`head` is the 3-D shape model, `camera` its pose and projection, `skin` its lit surface, `look` its colours; `canvas`
paints, `paint` the face, `scene` what is behind it, `occluders` what is before it; `face` puts them together. Drawing
takes NumPy and OpenCV. A face depends on its seed and index alone: neither on how many are made nor on how many
processes make them. `facekd.data.synthetic` makes a dataset of them.
"""

from facekd.synthetic.face import SyntheticFace, render

__all__ = ["SyntheticFace", "render"]
