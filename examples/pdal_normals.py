"""Normals in a PDAL pipeline: the function that pdal_normals.json calls, see docs/pipelines.md."""

import numpy as np

import tfnormals

DIMENSIONS = ("NormalX", "NormalY", "NormalZ", "NormalConfidence")


def normals(ins, outs):
    """PDAL's contract: arrays by dimension come in, those to be set go out in their types."""
    points = np.column_stack([ins[axis] for axis in "XYZ"])
    found, confidence = tfnormals.estimate_normals(points, orient="toward", toward=(0, 0, 1))
    for name, values in zip(DIMENSIONS, (*found.T, confidence), strict=True):
        outs[name] = values.astype(ins[name].dtype, order="C")
    return True
