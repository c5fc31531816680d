"""How a scene moves: numbers drawn once for a clip (`Path`), and where everything is at one frame
(`Instant`).

Lengths are in units of the frame's side, angles in degrees. `tau` runs from 0 at a clip's first frame to 1 at
its last, and w = sin 2 pi (f tau + phase) is the slow swing that most motions share.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import pi, sin

import numpy as np

MOTIONS = (
    "translate",
    "scale",
    "rotate",
    "shake",
    "exit",
    "occlusion",
    "camera",
    "clouds",
    "cut",
    "late",
    "pair",
)
# The pose of a clip (size, tilt and height at its start) falls into a cell; every cell belongs to one split.
POSE_SHARES = {"train": range(8), "dev": range(8, 9), "report": range(9, 10)}


@dataclass(frozen=True)
class Path:
    """The numbers of one clip's motion."""

    motion: str
    s0: float  # size: the drawing's larger side
    x0: float
    y0: float
    th0: float
    flip: bool
    f: float  # swings per clip
    phase: float  # 0..1
    ax: float  # half width of the swing
    ay: float
    q: float  # shakes per second
    direction: int  # -1 or 1
    post_x: float
    post_width: float
    post_colour: tuple[float, float, float]
    pan: float  # pixels of a 128 frame
    tilt: float  # pixels of a 128 frame
    clouds: tuple[tuple[float, float, float], ...]  # (x, y, half height)
    shots: int


@dataclass(frozen=True)
class Pose:
    x: float
    y: float
    s: float
    th: float
    flip: bool


@dataclass(frozen=True)
class Instant:
    """Where everything is at one frame. `camera` moves the cut-out, in pixels of a 128 frame."""

    shot: int
    subject: Pose
    other: Pose | None
    camera: tuple[float, float]
    clouds: tuple[tuple[float, float, float], ...]


def pose_cell(s0: float, th0: float, y0: float) -> tuple[int, int, int]:
    return int(s0 / 0.02), int((th0 + 6) / 1.0), int(y0 / 0.02)


def split_of_pose(s0: float, th0: float, y0: float) -> str:
    """The one split that clips of this starting size, tilt and height belong to."""
    share = zlib.crc32(str(pose_cell(s0, th0, y0)).encode()) % 10
    return next(split for split, shares in POSE_SHARES.items() if share in shares)


def draw_path(
    motion: str, split: str, rng: np.random.Generator, shots: int = 1, swings: float | None = None
) -> Path:
    """Draw the numbers of a clip in `split`; `swings` fixes how often the subject swings in the clip."""
    while True:
        s0, th0, y0 = rng.uniform(0.36, 0.58), rng.uniform(-6, 6), rng.uniform(0.48, 0.66)
        if split_of_pose(s0, th0, y0) == split:
            break
    u = rng.random(20)
    shade = 0.25 + 0.35 * u[12]
    return Path(
        motion=motion,
        s0=s0,
        x0=0.38 + 0.24 * u[0],
        y0=y0,
        th0=th0,
        flip=bool(u[1] < 0.5),
        f=0.6 + 0.8 * u[2] if swings is None else swings,
        phase=u[3],
        ax=0.12 + 0.14 * u[4],
        ay=0.06 * u[5],
        q=2.5 + 2.5 * u[6],
        direction=1 if u[7] < 0.5 else -1,
        post_x=0.25 + 0.5 * u[8],
        post_width=0.08 + 0.06 * u[9],
        post_colour=(shade + 0.15, shade + 0.05 * u[13], shade - 0.1 * u[13]),
        pan=20 + 26 * u[10],
        tilt=10 * u[11],
        clouds=tuple(
            (0.1 + 0.33 * i + 0.15 * u[14 + i], 0.08 + 0.22 * u[17 + i], 0.05 + 0.04 * u[11 + i])
            for i in range(3)
        ),
        shots=shots,
    )


def _wave(turns: float) -> float:
    return sin(2 * pi * turns)


def instant(path: Path, i: int, n: int, fps: float) -> Instant:
    """Frame `i` of a clip of `n` frames at `fps`."""
    p = path
    tau = i / (n - 1) if n > 1 else 0.0
    seconds = i / fps
    w = _wave(p.f * tau + p.phase)
    x, y, s, th = 0.5 + p.ax * w, p.y0 + p.ay * _wave(1.7 * p.f * tau + p.phase), p.s0, p.th0
    shot, camera, other = 0, (0.0, 0.0), None
    clouds: tuple[tuple[float, float, float], ...] = ()
    if p.motion == "scale":
        x, y, s = p.x0 + 0.10 * _wave(0.8 * p.f * tau + 2 * p.phase), p.y0, p.s0 * (1 + 0.25 * w)
    elif p.motion == "rotate":
        x, y, th = 0.5 + 0.7 * p.ax * _wave(0.7 * p.f * tau + 2 * p.phase), p.y0, p.th0 + 16 * w
    elif p.motion == "shake":
        th = p.th0 + 18 * _wave(p.q * seconds + p.phase)
        x = 0.5 + 0.6 * p.ax * w + 0.015 * _wave(1.3 * p.q * seconds)
        y = p.y0 + 0.012 * _wave(2 * p.q * seconds)
    elif p.motion == "exit":
        x = 0.5 + p.direction * (-0.22 + 1.05 * min(max((tau - 0.15) / 0.75, 0), 1))
        y = p.y0
    elif p.motion == "camera":
        cx = p.pan / 2 * (_wave(p.f * tau / 2 + p.phase) - _wave(p.phase))
        camera = (cx, p.tilt / 2 * _wave(tau))
        x, y = p.x0 - 0.6 * cx / 128, p.y0
    elif p.motion == "clouds":
        clouds = tuple((cx + 0.5 * p.direction * (tau - 0.5), cy, h) for cx, cy, h in p.clouds)
    elif p.motion == "cut":
        shot = min(int(tau * p.shots), p.shots - 1)
        x, y = p.x0 + 0.06 * _wave(p.f * tau), p.y0
        if shot % 2:
            x, y, s = 1 - x, y - 0.02, 0.85 * s
    elif p.motion == "late":
        # crosses the frame between two thirds and the end of the clip, so that a group of four evenly spaced
        # frames, ends included, never shows it
        x = 0.5 + p.direction * (-0.85 + 1.7 * min(max((tau - 0.655) / 0.34, 0), 1))
        y = p.y0
    elif p.motion == "pair":
        x, s = 0.5 + 0.24 * w, 0.8 * p.s0
        other = Pose(0.5 - 0.24 * w, p.y0 - 0.04, 0.75 * p.s0, -p.th0, not p.flip)
    return Instant(shot, Pose(x, y, s, th, p.flip), other, camera, clouds)
