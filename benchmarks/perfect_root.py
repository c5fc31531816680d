"""VIA with the root edit that a perfect editor would have made: what part of an error is the root's?

The row sees what no editor can reach, one valid answer in one frame; everything else is VIA's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from benchmarks.methods import MakeFrames
from data.types import CannotEdit, Frame, Report, Task
from via.config import ViaConfig
from via.root import root_frame
from via.sampling import generator


def perfect_root(make: Callable[[ViaConfig], MakeFrames], config: ViaConfig, folder: Path) -> MakeFrames:
    """The frames that `make` gives for a config that is told the first valid answer of the drawn root frame,
    as a picture in `folder`.

    The frame is drawn as VIA draws it, by the areas of the true masks. Raises CannotEdit where the answers
    are not known.
    """

    def frames(task: Task, seed: int, report: Report) -> Iterator[Frame]:
        if task.answers is None or task.masks is None:
            raise CannotEdit(f"the valid answers of {task.id} are not known")
        areas = None if task.edit.region is None else task.masks().sum(axis=(1, 2)).tolist()
        number = root_frame(areas, len(task.clip), generator(seed, "root frame"))
        picture = folder / f"perfect-root-{task.id}-{number}.png"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(task.answers()[0][number]).save(picture)
        told = config.model_copy(update={"root_frame": number, "root_edit": str(picture)})
        yield from make(told)(task, seed, report)

    return frames
