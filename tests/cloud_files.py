"""Cloud files as bytes, made without tfnormals, and what comes out when they are rewritten."""

import io
import struct

import lzf
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement
from pyarrow import parquet as pq

from tfnormals.clouds import read_cloud, write_cloud

BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


def read(data, format=None):
    return read_cloud(io.BytesIO(data), format=format)


def written(cloud):
    stream = io.BytesIO()
    write_cloud(cloud, stream)
    return stream.getvalue()


def normal_columns(n):
    """Normals and confidence, `(n, 4)`, exact in float32."""
    rng = np.random.default_rng(n)
    normals = rng.normal(size=(n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.column_stack([normals, rng.random(n)]).astype(np.float32).astype(np.float64)


def with_normals(data, format=None):
    """The file after normal_columns went into it."""
    cloud = read(data, format)
    columns = normal_columns(len(cloud.points))
    return written(cloud.with_normals(columns[:, :3], columns[:, 3]))


def bits(dtype, n, seed=0):
    """A structured array of arbitrary bits: NaN payloads, infinities, subnormals and all."""
    dtype = np.dtype(dtype)
    return np.frombuffer(np.random.default_rng(seed).bytes(n * dtype.itemsize), dtype)


def vertices(n=4, *columns):
    """Sensible x y z in float32, then columns of arbitrary bits."""
    rows = bits([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), *columns], n).copy()
    for place, axis in enumerate("xyz"):
        rows[axis] = np.arange(n) + 0.1 * place
    return rows


@st.composite
def tables(draw, types):
    """Structured arrays of arbitrary bits: x y z and other columns in any order."""
    others = ["red", "t", "nx", "ny", "nz", "normal_confidence", "normal_x", "normal_y"]
    names = draw(st.permutations(["x", "y", "z", *draw(st.sets(st.sampled_from(others)))]))
    dtype = np.dtype([(name, draw(st.sampled_from(types))) for name in names])
    size = draw(st.integers(1, 5)) * dtype.itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype)


def ply(rows, encoding="binary_little_endian", before=(), after=(), comments=()):
    """A PLY file by plyfile."""
    data = PlyData(
        [*before, PlyElement.describe(rows, "vertex"), *after],
        text=encoding == "ascii",
        byte_order=BYTE_ORDERS[encoding],
        comments=list(comments),
    )
    stream = io.BytesIO()
    with np.errstate(invalid="ignore"):  # numpy asks what a row of NaN and integers is
        data.write(stream)
    return stream.getvalue()


def parsed_ply(data):
    return PlyData.read(io.BytesIO(data))


def parquet(rows, **options):
    """A Parquet file of a structured array or an Arrow table."""
    if not isinstance(rows, pa.Table):
        rows = pa.table({name: rows[name] for name in rows.dtype.names})
    stream = io.BytesIO()
    pq.write_table(rows, stream, **options)
    return stream.getvalue()


def pcd(rows, encoding="binary", **entries):
    """A PCD file; fields whose names start with _ are padding, subarrays have a COUNT."""
    fields = [(name, *np.dtype(t).base.descr[0][1][1:], t.shape) for name, (t, _) in _fields(rows)]
    header = {
        "VERSION": "0.7",
        "FIELDS": " ".join("_" if name.startswith("_") else name for name, *_ in fields),
        "SIZE": " ".join(size for _, _, size, _ in fields),
        "TYPE": " ".join(kind.upper() for _, kind, _, _ in fields),
        "COUNT": " ".join(str(*shape or (1,)) for *_, shape in fields),
        "WIDTH": str(len(rows)),
        "HEIGHT": "1",
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": str(len(rows)),
        "DATA": encoding,
    }
    lines = [f"{key} {value}" for key, value in (header | entries).items() if value is not None]
    head = "\n".join(["# .PCD v0.7 - Point Cloud Data file format", *lines, ""]).encode()
    return head + {"ascii": ascii_rows, "binary": np.ndarray.tobytes}.get(encoding, packed)(rows)


def ascii_rows(rows):
    """Nine digits for float32, the shortest text for other types."""
    cells = [[np.ravel(cell) for cell in row] for row in rows]
    texts = [" ".join(_text(value) for cell in row for value in cell) for row in cells]
    return "\n".join([*texts, ""]).encode()


def _text(value):
    return f"{value:.9g}" if value.dtype == np.float32 else str(value)


def packed(rows):
    """Field by field, as PCL packs them: the values of one point stay together."""
    raw = b"".join(rows[name].tobytes() for name in rows.dtype.names)
    compressed = lzf.compress(raw, 2 * len(raw) + 16)
    return struct.pack("<II", len(compressed), len(raw)) + compressed


def _fields(rows):
    return [(name, rows.dtype.fields[name]) for name in rows.dtype.names]
