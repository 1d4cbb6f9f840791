"""Coordinates in the clouds of other libraries, told by their attributes: none is imported."""

from typing import Any

import numpy as np

# Of laspy, whose points are records; of trimesh; of Open3D and of our own clouds.
_PLACES = ("xyz", "vertices", "points")


def coordinates(cloud: Any) -> Any:
    """The coordinates `(n, d)` of a cloud, without a copy where it stores them as such.

    Args:
        cloud: An array, a tensor of torch or a list, which stay what they are. Or an
            `open3d.geometry.PointCloud`, `open3d.t.geometry.PointCloud`, `trimesh.PointCloud`,
            `trimesh.Trimesh`, `laspy.LasData`, or anything with their attributes, such as what
            `read_cloud` returns.

    Raises:
        ValueError: If it is nothing of all this.
    """
    if hasattr(cloud, "__array__") or isinstance(cloud, list | tuple):
        return cloud
    if "positions" in getattr(cloud, "point", ()):
        return cloud.point["positions"].cpu().numpy()
    for place in _PLACES:
        if hasattr(cloud, place):
            return np.asarray(getattr(cloud, place))
    kind = f"{type(cloud).__module__}.{type(cloud).__qualname__}"
    raise ValueError(f"no points found in a {kind}; give an array (n, 3) of its coordinates")
