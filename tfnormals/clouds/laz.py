"""The compressed points of LAZ files, by lazrs."""

import struct
from collections.abc import Iterable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from ..storage import room
from .data import Data, stream_of
from .las_header import GET, LasHeader

LASZIP = (b"laszip encoded", 22204)
"""User and number of the record that tells how points are compressed."""
_TABLE = struct.Struct("<q")  # where the table of chunks stands, in front of the points
_TABLE_HEAD = struct.Struct("<4xI")  # version and number of chunks
_CHANNEL = (15, 0x30)  # byte and bits of the scanner channel in point formats 6 to 10


def unpacked(data: Data, header: LasHeader) -> NDArray[np.uint8]:
    """The bytes of the points of a LAZ file, `(n, size)`.

    Raises:
        CloudError: If they are cut off, damaged, or compressed in a way that lazrs does not know.
    """
    import lazrs  # here, so that other formats do without

    laszip = next((record.data for record in header.records if record[:2] == LASZIP), None)
    if laszip is None:
        raise CloudError("no record says how its points are compressed; export the cloud again")
    count, size = header.count, header["point_size"]
    _check_table(data, header["points"])
    stream = stream_of(data)
    stream.seek(header["points"])
    try:
        form = lazrs.LazVlr(laszip)
        most = sum(points for points, _ in lazrs.read_chunk_table(stream, form))
        if form.item_size() != size:
            raise CloudError(
                f"points of {size} bytes, but of {form.item_size()} in the record of compression; "
                "export the cloud again"
            )
        if count > most:
            raise CloudError(
                f"the header promises {count} points, at most {most} are there; {GET}"
            )
        stream.seek(header["points"])
        points = room((count, size), np.uint8)
        lazrs.LasZipDecompressor(stream, laszip).decompress_many(points.reshape(-1))
    except lazrs.LazrsError as error:
        raise CloudError(f"its points cannot be uncompressed ({error}); {GET}") from error
    except MemoryError as error:
        raise CloudError(f"no memory for {count} points; give fewer at a time") from error
    byte, bits = _CHANNEL
    if header.point_format in (9, 10) and len(np.unique(points[:, byte] & bits)) > 1:
        raise CloudError(  # lazrs 0.8.2 returns other waveform numbers then
            "waveforms of several scanner channels, which lazrs cannot uncompress; save it as LAS"
        )
    return points


def _check_table(data: Data, start: int) -> None:
    """Refuse a table of chunks for which lazrs would ask for memory that nobody has."""
    end = start + _TABLE.size
    (place,) = _TABLE.unpack_from(data, start) if end <= len(data) else (0,)
    if place == -1:  # a writer that could not go back put it at the end
        (place,) = _TABLE.unpack_from(data, len(data) - _TABLE.size)
    if not end <= place <= len(data) - _TABLE_HEAD.size:
        raise CloudError(f"its points are cut off; {GET}")
    (chunks,) = _TABLE_HEAD.unpack_from(data, place)
    if chunks > place - end:
        raise CloudError(f"its points are cut off or damaged; {GET}")


def laszip_record(header: LasHeader) -> bytes:
    """What the record says about points of this size once they are `packed`."""
    import lazrs

    extra = header["point_size"] - header.base_size
    return lazrs.LazVlr.new_for_compression(header.point_format, extra).record_data()


def packed(laszip: bytes, points: Iterable[bytes], start: int) -> bytes:
    """The compressed points.

    Args:
        laszip: What the record says.
        points: Their bytes, piece by piece.
        start: Where they will stand in the file.
    """
    import lazrs

    stream = BytesIO()
    compressor = lazrs.LasZipCompressor(stream, lazrs.LazVlr(laszip))
    for piece in points:
        compressor.compress_many(piece)
    compressor.done()
    (place,) = _TABLE.unpack_from(stream.getbuffer())
    _TABLE.pack_into(stream.getbuffer(), 0, place + start)
    return stream.getvalue()
