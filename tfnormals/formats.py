"""The formats of clouds, by the suffixes of their files."""

FORMATS = {
    ".ply": "PLY",
    ".pcd": "PCD",
    ".xyz": "text",
    ".txt": "text",
    ".csv": "text",
    ".asc": "text",
    ".npy": "NPY",
    ".npz": "NPZ",
    ".las": "LAS",
    ".laz": "LAZ",
    ".parquet": "Parquet",
}
"""Those that are written as they were read. A format's first suffix is the one recommended."""

CONVERTED = {".obj": "OBJ", ".off": "OFF", ".stl": "STL", ".e57": "E57"}
"""Those that become PLY: the first three have no place for the confidence of a vertex, and nothing
writes E57 back whole."""
