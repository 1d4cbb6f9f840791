"""LAS, LAZ and COPC files as bytes, made by laspy and by hand."""

import io
import struct

import laspy
import lazrs
import numpy as np
from cloud_files import bits
from laspy.vlrs.vlrlist import VLRList

SCALES, OFFSETS = [1e-3, 1e-3, 2.5e-4], [651_000.25, 6_862_000.5, -3]
WAVES = bytes(range(100))
CHANNEL = 0x30  # of the classification flags


def las(point_format=3, n=40, *, laz=False, extra=(), points=None, evlrs=(), version="1.4"):
    """Points of arbitrary bits, but for sensible X Y Z, by laspy."""
    header = laspy.LasHeader(point_format=point_format, version=version)
    header.scales, header.offsets = SCALES, OFFSETS
    header.vlrs.append(laspy.VLR("tests", 7, "of no meaning", b"\0\xff\n" * 5))
    if extra:
        header.add_extra_dims([laspy.ExtraBytesParams(*params) for params in extra])
    array = bits(header.point_format.dtype(), n, seed=point_format).copy()
    if points is None:
        points = np.random.default_rng(n).integers(-(10**6), 10**6, (n, 3))
    for axis, column in zip("XYZ", points.T, strict=True):
        array[axis] = column
    if point_format in (9, 10):
        array["classification_flags"] &= 0xFF ^ CHANNEL
    data = laspy.LasData(header)
    data.points = laspy.ScaleAwarePointRecord(array, header.point_format, SCALES, OFFSETS)
    if evlrs:
        data.evlrs = VLRList(evlrs)
    stream = io.BytesIO()
    data.write(stream, do_compress=laz)
    return stream.getvalue()


def parsed_las(data):
    return laspy.read(io.BytesIO(data))


def patched(data, place, form, value):
    """The bytes with a number changed."""
    changed = bytearray(data)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def with_waves(data):
    """The file with waveforms behind its points, in a record as LAS 1.3 has it."""
    head = struct.pack("<2x16sHQ32s", b"LASF_Spec", 65535, len(WAVES), b"waveforms")
    return patched(patched(data, 227, "<Q", len(data)), 6, "<H", 2) + head + WAVES


def copc(chunks=(30, 50, 1)):
    """A COPC file with one node per chunk, and a record of another kind behind the octree."""
    plain = las(7, sum(chunks))
    header = laspy.LasHeader.read_from(io.BytesIO(plain))
    form = lazrs.LazVlr.new_for_compression(7, 0, True)
    info = struct.pack("<5d2Q2d88x", 0, 0, 0, 1000, 10, 0, 32 * len(chunks), 0, 0)
    start = 375 + 54 + len(info) + 54 + len(form.record_data())
    stream = io.BytesIO(bytes(start))
    stream.seek(start)
    compressor = lazrs.LasZipCompressor(stream, form)
    raw = np.frombuffer(plain[header.offset_to_point_data :], np.uint8).reshape(-1, 36)
    ends = np.cumsum(chunks)
    compressor.compress_chunks([raw[e - n : e].ravel() for e, n in zip(ends, chunks, strict=True)])
    compressor.done()
    stream.seek(start)
    table = lazrs.read_chunk_table(stream, form)[: len(chunks)]  # done() adds an empty one
    nodes, place = b"", start + 8
    for node, (count, size) in enumerate(table):
        nodes += struct.pack("<4iQ2i", node > 0, node == 2, 0, 0, place, size, count)
        place += size
    end = len(stream.getvalue())
    info = struct.pack("<5d2Q2d88x", 0, 0, 0, 1000, 10, end + 60, len(nodes), 0, 0)
    head = bytearray(plain[:375])
    struct.pack_into("<IIB", head, 96, start, 2, 7 | 0x80)
    struct.pack_into("<QI", head, 235, end, 2)
    records = _record("<2x16sHH32s", b"copc", 1, info)
    records += _record("<2x16sHH32s", b"laszip encoded", 22204, form.record_data())
    late = _record("<2x16sHQ32s", b"copc", 1000, nodes)
    late += _record("<2x16sHQ32s", b"tests", 8, b"kept")
    return bytes(head) + records + stream.getvalue()[start:] + late


def _record(form, user, number, data):
    return struct.pack(form, user, number, len(data), b"") + data
