"""Local latent adaptation (section 4.1): masks on the latent grid, and blending with progressive boundary
integration (Eq. 6).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

Schedule = Literal["progressive", "constant", "last_step", "off"]
Area = Literal["whole", "inside", "object"]


def latent_mask(masks: torch.Tensor, factor: int, grow: int = 0) -> torch.Tensor:
    """Edit cells, bool (n, 1, h, w), from binary pixel masks (n, 1, H, W): a cell is edit if any of its
    pixels is.

    `grow` adds that many rings of cells around the region.
    """
    cells = F.max_pool2d(masks.float(), factor)
    for _ in range(grow):
        cells = F.max_pool2d(cells, 3, stride=1, padding=1)
    return cells > 0.5


def source_weight(
    mask: torch.Tensor, step: int, steps: int, schedule: Schedule = "progressive", area: Area = "whole"
) -> torch.Tensor:
    """The source's weight in each cell after `step` of `steps` steps are done (Eq. 6), float (n, 1, h, w) in
    [0, 1].

    `mask` is the edit region, bool (n, 1, h, w); M_src is its complement. Eq. 6 multiplies M_src by t / T,
    where t counts the steps done: the weight is always computed from the original mask, never compounded.

    schedule: progressive t / T; constant 1 at every step; last_step 1 at the last step only (appendix B); off
    0.
    area: whole, every source cell follows the schedule; inside, only source cells without an edit cell beside
    them do and the rest is edit; object, outside is always source and the edit's weight follows the schedule
    in the region.
    """
    share = {
        "progressive": step / steps,
        "constant": 1.0,
        "last_step": float(step == steps),
        "off": 0.0,
    }[schedule]
    edit = mask.float()
    if schedule == "off":
        return torch.zeros_like(edit)
    if area == "object":
        return 1 - share * edit
    if area == "inside":
        edit = F.max_pool2d(edit, 3, stride=1, padding=1)
    return share * (1 - edit)


def blend(
    edited: torch.Tensor,
    source: torch.Tensor,
    mask: torch.Tensor,
    step: int,
    steps: int,
    schedule: Schedule = "progressive",
    area: Area = "whole",
) -> torch.Tensor:
    """Latents (n, c, h, w) after blending the inverted source into the edit (Eq. 6), at the noise level after
    `step`.

    Where the weight is 1 the result equals `source` bit for bit, where it is 0 it equals `edited`.
    """
    weight = source_weight(mask, step, steps, schedule, area).to(edited.dtype)
    return weight * source + (1 - weight) * edited
