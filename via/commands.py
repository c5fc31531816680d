"""The command `via edit`: a video file and an instruction in, a video file out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data.types import Clip, Frame, Report
    from via.backbones import Backbone
    from via.config import ViaConfig
    from via.edit import Choose
    from via.masks import Masker

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
WRITTEN = (".mp4", ".m4v")


def edit(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video file, or a folder of images.")],
    instruction: Annotated[str, typer.Argument(help='What to change, as in "Change into a tiger".')],
    out: Annotated[Path, typer.Option("-o", "--out", help="The edited video: .mp4 or .m4v (H.264).")],
    backbone: Annotated[str, typer.Option(help="The image editor: pocket, or ip2p:FOLDER.")] = "pocket",
    seed: Annotated[int, typer.Option(help="One seed, one result.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="field=value of the method; may be repeated.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="What to edit: a phrase, or whole (the frame).")] = None,
    mask: Annotated[Path | None, typer.Option(help="Image or video, white where the edit may act.")] = None,
    root_edit: Annotated[
        Path | None, typer.Option(help="An edited root frame to spread, as an image.")
    ] = None,
    choose_root: Annotated[bool, typer.Option("--choose-root", help="Show the candidates and ask.")] = False,
    frames: Annotated[str | None, typer.Option(help="The first N frames, or START:END.")] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=8, help="Side in pixels for the editor: the shorter for pocket, the longer for ip2p."
        ),
    ] = None,
    explain: Annotated[Path | None, typer.Option(help="Folder for a page that shows every step.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps stages for the next edit.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Edit a video by an instruction."""
    from data.types import Edit, UserError
    from data.video import open_clip, write_mp4
    from via.config import ViaConfig, configured
    from via.edit import Via

    if out.suffix.lower() not in WRITTEN:
        raise UserError(f"{out}: edited videos are written as {' or '.join(WRITTEN)}; name one of these")
    if not out.parent.is_dir():
        raise UserError(f"{out}: its folder does not exist; make it first")
    if out.exists() and out.resolve() == source.resolve():
        raise UserError(f"{out}: is the input; name another output")
    whole = open_clip(source, partial=frames is not None)
    first, last = frame_range(frames, len(whole))
    clip = Excerpt(whole, first, last)
    config = configured(settings or [], ViaConfig())
    config = _with_options(config, region, mask, root_edit, choose_root, size)
    masks = _masks(mask, whole, first, last) if mask is not None else None
    predicts = config.masks == "predicted" and config.region != "whole"
    model, masker = _models(backbone, _device(device), predicts)
    folder = cache or (explain / "stages" if explain else None)
    editor = Via(model, masker, config, cache=folder, choose=_chooser(out) if choose_root else None)
    task = Edit(instruction=instruction)
    kept: dict[int, Frame] = {}
    sound = source if source.is_file() and first == 0 else None
    try:
        with _progress(config.steps) as report:
            edited = editor.edit(clip, task, masks=masks, seed=seed, report=report)
            write_mp4(out, _remembered(edited, editor, kept), clip.fps, audio_from=sound)
    except KeyboardInterrupt:
        stages = f"finished stages are kept in {folder}" if folder else "--cache DIR would keep stages"
        raise KeyboardInterrupt(f"interrupted; {out} is not written, {stages}") from None
    seconds = sum(editor.trace.seconds.values())
    found = editor.trace.region
    where = f"region: {found.phrase or 'the given masks'}" if found else "the whole frame"
    typer.echo(f"{out}: {len(clip)} frames, {where}, {seconds:.0f} s, {len(clip) / seconds:.2g} frames/s")
    if explain:
        from via.explain import explain as explained

        shown = editor.trace.group or [0]
        typer.echo(explained(editor, clip, task, [kept[i] for i in shown], explain, masks=masks, seed=seed))


class Excerpt:
    """The frames [first, last) of a clip, as a clip."""

    def __init__(self, clip: Clip, first: int, last: int):
        self.clip, self.first, self.last = clip, first, last
        self.name, self.fps, self.size = clip.name, clip.fps, clip.size

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self.clip[self.first + start : self.first + stop : step]
        return self.clip[self.first + range(len(self))[index]]


def frame_range(text: str | None, frames: int) -> tuple[int, int]:
    """[first, last) of "N" or "START:END", held to the clip. Raises UserError when nothing is left.

    >>> frame_range("48", 100), frame_range("10:", 100), frame_range(None, 7)
    ((0, 48), (10, 100), (0, 7))
    """
    from data.types import UserError

    if text is None:
        return 0, frames
    start, colon, end = text.partition(":")
    try:
        first = int(start or 0) if colon else 0
        last = int(end or frames) if colon else int(start)
    except ValueError:
        raise UserError(f"--frames {text}: write a number of frames, or START:END") from None
    last = min(last, frames)
    if not 0 <= first < last:
        raise UserError(f"--frames {text}: the clip has frames 0 to {frames - 1}")
    return first, last


def _with_options(
    config: ViaConfig,
    region: str | None,
    mask: Path | None,
    root_edit: Path | None,
    choose_root: bool,
    size: int | None,
) -> ViaConfig:
    changes: dict[str, Any] = {}
    if region is not None:
        changes["region"] = region
    if mask is not None:
        changes["masks"] = "given" if config.masks in ("predicted", "given") else config.masks
    if root_edit is not None:
        changes["root_edit"] = str(root_edit)
    if choose_root:
        changes["root_choice"] = "person"
    if size is not None:
        changes["size"] = size
    return config.model_copy(update=changes)


def _masks(path: Path, clip: Clip, first: int, last: int) -> NDArray[np.float32]:
    from data.types import UserError
    from data.video import open_clip
    from via.masks.given import from_clip, from_image

    part = Excerpt(clip, first, last)
    if path.suffix.lower() in IMAGES:
        return from_image(path, part)
    masks = open_clip(path)
    if len(masks) not in (len(clip), len(part)):
        raise UserError(f"{path}: {len(masks)} masks for {len(clip)} frames: give one mask a frame")
    whole = len(masks) == len(clip)
    return from_clip(Excerpt(masks, first, last) if whole else masks, part)


def _models(backbone: str, device: str, predicts: bool) -> tuple[Backbone, Masker | None]:
    from via.backbones import load
    from via.masks.grammar import GrammarOnly

    model = load(backbone, device)
    if not predicts:
        return model, None
    if backbone != "pocket":
        return model, GrammarOnly()
    from via.masks.pocket import load as load_masker

    return model, load_masker(device=device)


def _device(name: str) -> str:
    import torch

    from data.types import UserError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {name}: there is no usable GPU here; use --device cpu")
    return name


def _chooser(out: Path) -> Choose:
    """Asks a person for the root edit, over a contact sheet beside the output."""

    def choose(candidates: NDArray[np.uint8], scores: list[float]) -> int:
        from via.contact_sheet import contact_sheet

        sheet = out.with_suffix(".roots.png")
        labels = [f"{number}   score {score:.4f}" for number, score in enumerate(scores)]
        contact_sheet(list(candidates), labels).save(sheet)
        best = max(range(len(scores)), key=scores.__getitem__)
        while True:
            answer = typer.prompt(f"look at {sheet}; which candidate", default=best, type=int)
            if 0 <= answer < len(scores):
                return int(answer)
            typer.echo(f"there is no candidate {answer}: 0 to {len(scores) - 1}")

    return choose


def _remembered(frames: Iterator[Frame], editor: Any, kept: dict[int, Frame]) -> Iterator[Frame]:
    """The frames as they come; those of the group (or the first) are also put into `kept`."""
    for number, frame in enumerate(frames):
        if number in (editor.trace.group or [0]):
            kept[number] = frame
        yield frame


@contextmanager
def _progress(steps: int) -> Iterator[Report]:
    """A bar for the stage under way: frames per second and time left, on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.fields[frames]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total, frames="")
            task = progress.tasks[bars[stage]]
            each = steps if stage == "edit" else 1
            rate = f"{task.speed / each:.1f}/s" if task.speed else ""
            count = f"{done // each}/{total // each} {rate}"
            progress.update(bars[stage], completed=done, total=total, frames=count)

        yield report
