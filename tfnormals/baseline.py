"""Normals of other tools, of Open3D above all, that evaluation sets beside ours."""

import math
import multiprocessing
import re
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

Array = NDArray[np.float64]
Tool = Callable[[Array], Array]
"""Finite points (n, 3) to normals (n, 3); a RuntimeError refuses them."""

INSTALL = (
    "the baseline needs Open3D: pip install open3d-cpu (or open3d); "
    "on Debian also: apt install libusb-1.0-0 libgl1 libgomp1"
)
NOISE = re.compile(r"^.*\.cpp:\d+: |\x1b\[[\d;]*m")
"""The C++ signature and the colours in Open3D's messages."""


class SeparateTool:
    """Normals by a tool in a process of its own, as nothing within one ends a tool that hangs.

    Call it with points (n, 3) for normals (n, 3); NaN where a point is not finite.

    The process starts with the object, so that calls are not charged for importing the tool, and
    anew after a call that was cut off. Close it, or use ``with``.
    """

    def __init__(
        self, name: str, load: Callable[[], Tool], install: str, seconds_limit: float = 300
    ) -> None:
        """Starts the tool.

        Args:
            name: What errors call it.
            load: Imports it, in the other process; must be picklable.
            install: What to do where it cannot be imported.
            seconds_limit: How long a call may take.

        Raises:
            DataError: If the tool cannot be imported; says what to install.
        """
        self._name, self._load, self._install = name, load, install
        self._seconds_limit = seconds_limit
        self.seconds = math.nan
        """What the last call took the tool; passing the points to and fro is not its time."""
        self._start()

    def __call__(self, points: Array) -> Array:
        """Normals (n, 3) of points (n, 3).

        Raises:
            DataError: If the tool refuses the points or does not finish in time.
        """
        finite = np.isfinite(points).all(axis=1)
        try:
            self._connection.send(np.ascontiguousarray(points[finite], np.float64))
            reply = self._receive(self._seconds_limit)
        except OSError as error:
            self.close()
            self._start()
            raise DataError(f"{self._name}: {error}") from error
        if isinstance(reply, str):
            raise DataError(f"{self._name}: {reply}")
        normals = np.full(points.shape, np.nan)
        normals[finite], self.seconds = reply
        return normals

    @property
    def pid(self) -> int | None:
        """The process that the tool is in."""
        return self._process.pid

    def __enter__(self) -> "SeparateTool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._load, self._install), daemon=True
        )
        self._process.start()
        theirs.close()
        reply: tuple[Array, float] | str
        try:
            reply = self._receive(seconds_limit=None)  # importing may take as long as it likes
        except ConnectionError as error:
            reply = str(error)
        if isinstance(reply, str):
            self.close()
            raise DataError(f"{self._name}: {reply}")

    def _receive(self, seconds_limit: float | None) -> tuple[Array, float] | str:
        """Normals and how long they took, or what is wrong with the points."""
        if not self._connection.poll(seconds_limit):
            raise TimeoutError(f"did not finish in {seconds_limit:g} s")
        try:
            return self._connection.recv()
        except EOFError as error:
            raise ConnectionError("its process ended by itself") from error


class Open3dNormals(SeparateTool):
    """Unit normals by principal axes, made consistent along a spanning tree.

    They are consistent at best: Open3D has no outside, the sign of the tree's root is left as it
    is. The tree can run for ever on flat parts.

    Source: Hoppe et al., "Surface reconstruction from unorganized points", SIGGRAPH 1992.
    """

    def __init__(self, k: int = 30, spanning: int = 15, seconds_limit: float = 300) -> None:
        """Starts Open3D.

        Args:
            k: Neighbours that the principal axes are taken of.
            spanning: Neighbours that the tree may join.
            seconds_limit: How long a call may take.

        Raises:
            DataError: If Open3D cannot be imported; says what to install.
        """
        super().__init__("open3d", partial(load_open3d, k, spanning), INSTALL, seconds_limit)


def load_open3d(k: int, spanning: int) -> Tool:
    """Open3D within this process; for the arguments see `Open3dNormals`.

    Raises:
        ImportError: If it is not installed.
        OSError: If a system library is missing.
    """
    import open3d

    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)

    def normals(points: Array) -> Array:
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
        cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(k))
        cloud.orient_normals_consistent_tangent_plane(spanning)
        return np.asarray(cloud.normals)

    return normals


def _serve(connection: Connection, load: Callable[[], Tool], install: str) -> None:
    """Answers points with normals or with what is wrong, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    try:
        tool = load()
    except (ImportError, OSError) as error:  # OSError: a system library is missing
        connection.send(f"cannot be imported ({error}); {install}")
        return
    connection.send((np.empty((0, 3)), 0.0))  # ready
    while True:
        try:
            points = connection.recv()
        except EOFError:
            return
        start = time.perf_counter()
        try:
            normals = tool(points)
        except RuntimeError as error:
            connection.send(NOISE.sub("", str(error).splitlines()[0]))
        else:
            connection.send((normals, time.perf_counter() - start))
