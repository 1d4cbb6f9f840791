"""Draws frames.png: a contour and its mirror image, with the frames of some points."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np


def main() -> None:
    """Writes the picture beside this file."""
    t = np.linspace(0, 2 * np.pi, 61)[:-1]
    radius = 1 + 0.25 * np.cos(3 * t) + 0.1 * np.sin(2 * t)
    points = np.column_stack([radius * np.cos(t), radius * np.sin(t)])
    angle = np.radians(50)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    copies = {"a cloud": np.eye(2), "turned and mirrored": turn @ np.diag([-1.0, 1.0])}
    figure, panels = plt.subplots(1, 4, figsize=(13, 3.4), width_ratios=[2, 1, 2, 1])
    for (title, matrix), (left, right) in zip(copies.items(), panels.reshape(2, 2), strict=True):
        moved = points @ matrix.T
        tangent = np.roll(points, -1, 0) - np.roll(points, 1, 0)
        tangent /= np.linalg.norm(tangent, axis=1)[:, None]
        normal = np.column_stack([tangent[:, 1], -tangent[:, 0]])
        left.plot(*moved.T, ".", color="0.6")
        for axis, color in ((tangent @ matrix.T, "tab:red"), (normal @ matrix.T, "tab:blue")):
            some = slice(3, None, 10)
            left.quiver(*moved[some].T, *axis[some].T, color=color, scale=8, width=0.009)
        here, frame = 23, np.stack([tangent[23], normal[23]]) @ matrix.T
        left.plot(*moved[here], "o", mfc="none", color="k", markersize=14)
        seen = (moved - moved[here]) @ frame.T
        right.plot(*seen.T, ".", color="0.4")
        right.quiver([0, 0], [0, 0], [1, 0], [0, 1], color=["tab:red", "tab:blue"], scale=6)
        right.set(xlim=(-0.7, 0.7), ylim=(-0.9, 0.5), title="seen in its frame")
        left.margins(0.2)
        left.set_title(title)
    for panel in panels:
        panel.set_aspect("equal")
        panel.set_xticks([])
        panel.set_yticks([])
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("frames.png"), dpi=90)


if __name__ == "__main__":
    main()
