"""Spatiotemporal adaptation (section 4.2): the group's keys and values are gathered, then swapped into every
frame.

Two attention processors, one for each role, composed: `Capture` keeps a frame's keys and values (Eq. 8),
`Swap` attends to those of the group instead of the frame's own (Eq. 7 and 9) or besides them (Eq. 4). They
are attached by context managers and know nothing of VIA's loop: `gather` and `swapped` work for any U-Net of
diffusers whose batch is `branches * n` rows, branch by branch.

`python -m via.attention` prints what swapping costs, layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention

KeyValue = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Layers:
    """Which attention layers take part, and which guidance branches; None is all of them.

    `blocks` counts transformer blocks in network order (down, middle, up); self- and cross-attention of a
    block share its number.
    """

    self_attention: bool = True
    cross_attention: bool = True
    blocks: tuple[int, ...] | None = None
    branches: tuple[int, ...] | None = None


class GroupStore:
    """Keys and values of the group at one denoising step, by layer: (branches, L, d) for each frame."""

    def __init__(self) -> None:
        self._frames: dict[str, list[KeyValue]] = {}
        self._joined: dict[str, KeyValue] = {}

    def append(self, layer: str, key: torch.Tensor, value: torch.Tensor) -> None:
        """Eq. 8: K_group <- [K_group, K_curr], V_group <- [V_group, V_curr]."""
        self._frames.setdefault(layer, []).append((key, value))
        self._joined.pop(layer, None)

    def context(self, layer: str, last: int | None = None) -> KeyValue:
        """Keys and values (branches, m * L, d) of the `last` m frames of the group so far; None is all of
        them.
        """
        if last is not None:
            return _joined(self._frames[layer][-last:])
        if layer not in self._joined:
            self._joined[layer] = _joined(self._frames[layer])
        return self._joined[layer]


def _joined(frames: list[KeyValue]) -> KeyValue:
    keys, values = zip(*frames)
    return torch.cat(keys, dim=1), torch.cat(values, dim=1)


def attend(attn: Attention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Eq. 2 with the layer's heads: (b, Lq, d) from query (b, Lq, d), key and value (b, Lk, d)."""
    query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class Capture:
    """Role of a group frame: `inner` attends, and the frame's own keys and values are kept (Eq. 8)."""

    def __init__(self, layer: str, store: GroupStore, inner: Callable[..., torch.Tensor]):
        self.layer, self.store, self.inner = layer, store, inner

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        output = self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        self.store.append(self.layer, attn.to_k(context), attn.to_v(context))
        return output


class Swap:
    """Role of an edited frame: its queries meet the group's keys and values (Eq. 7, 9; with `own` also its
    own, Eq. 4).

    The rows are `len(branches)` times n frames. All frames share one K and V, so their queries lie side by
    side in one attention call for each branch, and `to_k`, `to_v` of the frames are computed only where `own`
    needs them.
    """

    def __init__(self, layer: str, store: GroupStore, branches: Sequence[int], own: bool, last: int | None):
        self.layer, self.store, self.branches, self.own, self.last = layer, store, list(branches), own, last

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        query = attn.to_q(hidden_states)  # (branches * n, L, d)
        key, value = self.store.context(self.layer, self.last)  # (all branches, m * L, d)
        if len(self.branches) < len(key):
            key, value = key[self.branches], value[self.branches]
        if self.own:
            frames = len(query) // len(self.branches)
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            key = torch.cat([attn.to_k(context), key.repeat_interleave(frames, dim=0)], dim=1)
            value = torch.cat([attn.to_v(context), value.repeat_interleave(frames, dim=0)], dim=1)
            attended = attend(attn, query, key, value)
        else:
            folded = query.reshape(len(self.branches), -1, query.shape[-1])  # (branches, n * L, d)
            attended = attend(attn, folded, key, value).reshape(query.shape)
        projected: torch.Tensor = attn.to_out[1](attn.to_out[0](attended))
        return projected / attn.rescale_output_factor


class ByBranch:
    """Sends the rows of the branches in `swapped` through `swap` and all other rows through `plain`."""

    def __init__(
        self,
        branches: int,
        swapped: Sequence[int],
        swap: Callable[..., torch.Tensor],
        plain: Callable[..., torch.Tensor],
    ):
        self.branches, self.swap, self.plain = branches, swap, plain
        self.swapped = list(swapped)
        self.kept = [branch for branch in range(branches) if branch not in self.swapped]

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        def rows(tensor: torch.Tensor | None, branches: list[int]) -> torch.Tensor | None:
            return (
                None if tensor is None else tensor.unflatten(0, (self.branches, -1))[branches].flatten(0, 1)
            )

        output = torch.empty_like(hidden_states).unflatten(0, (self.branches, -1))
        for branches, processor in ((self.swapped, self.swap), (self.kept, self.plain)):
            if branches:
                attended = processor(
                    attn,
                    rows(hidden_states, branches),
                    rows(encoder_hidden_states, branches),
                    attention_mask,
                    temb,
                )
                output[branches] = attended.unflatten(0, (len(branches), -1))
        return output.flatten(0, 1)


def attention_layers(unet: torch.nn.Module, layers: Layers) -> list[tuple[str, Attention]]:
    """Names and modules of the chosen attention layers, in network order.

    Raises NotImplementedError for a layer that does more than Eq. 2 and 3 (norms or extra keys inside the
    attention).
    """
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    named = [
        (name, module)
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and name.endswith((".attn1", ".attn2"))
    ]
    named.sort(key=lambda item: order.get(item[0].split(".")[0], 3))
    blocks = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in named))
    chosen = []
    for name, attn in named:
        block, _, kind = name.rpartition(".")
        wanted = layers.self_attention if kind == "attn1" else layers.cross_attention
        if not wanted or (layers.blocks is not None and blocks.index(block) not in layers.blocks):
            continue
        extras = (
            attn.group_norm,
            attn.spatial_norm,
            attn.norm_q,
            attn.norm_k,
            attn.norm_cross,
            attn.added_kv_proj_dim,
        )
        if any(extra is not None for extra in extras) or attn.residual_connection:
            raise NotImplementedError(
                f"{name} normalises or extends its keys; only plain attention can be swapped"
            )
        chosen.append((name, attn))
    return chosen


@contextmanager
def attached(processors: Sequence[tuple[Attention, Any]]) -> Iterator[None]:
    """Each layer with its processor for the time of the block; afterwards the processors are those found."""
    found = [(attn, attn.processor) for attn, _ in processors]
    try:
        for attn, processor in processors:
            attn.processor = processor
        yield
    finally:
        for attn, processor in found:
            attn.processor = processor


def _swap_processor(
    name: str, attn: Attention, store: GroupStore, layers: Layers, branches: int, own: bool, last: int | None
) -> Any:
    swapped = [b for b in range(branches) if layers.branches is None or b in layers.branches]
    swap = Swap(name, store, swapped, own, last)
    return swap if len(swapped) == branches else ByBranch(branches, swapped, swap, attn.processor)


def gather(
    unet: torch.nn.Module,
    predict: Callable[[int], torch.Tensor],
    frames: int,
    branches: int,
    layers: Layers | None = None,
    *,
    chained: bool = True,
    context: Literal["all", "preceding"] = "all",
) -> tuple[torch.Tensor, GroupStore]:
    """Gather the group at one denoising step (Eq. 7 and 8): the model outputs (frames, c, h, w) and the
    filled store.

    `predict(j)` is the model output (1, c, h, w) of group frame j and runs `unet` once on `branches` rows.
    The first frame is edited as it is; every later one meets the keys and values of the frames before it
    (`context`: all of them, or the preceding one) in place of its own. With `chained` off each frame is
    edited on its own and only captured (Fig. 11, without gathering).
    """
    layers = layers or Layers()
    store = GroupStore()
    last = None if context == "all" else 1
    outputs = []
    for j in range(frames):
        processors: list[tuple[Attention, Any]] = []
        for name, attn in attention_layers(unet, layers):
            chain = chained and j > 0
            inner = (
                _swap_processor(name, attn, store, layers, branches, False, last) if chain else attn.processor
            )
            processors.append((attn, Capture(name, store, inner)))
        with attached(processors):
            outputs.append(predict(j))
    return torch.cat(outputs), store


@contextmanager
def swapped(
    unet: torch.nn.Module,
    store: GroupStore,
    branches: int,
    layers: Layers | None = None,
    *,
    own: bool = False,
) -> Iterator[None]:
    """The U-Net attending to the group (Eq. 9), or with `own` to the frame and the group (Eq. 4), inside the
    block.
    """
    layers = layers or Layers()
    processors = [
        (attn, _swap_processor(name, attn, store, layers, branches, own, None))
        for name, attn in attention_layers(unet, layers)
    ]
    with attached(processors):
        yield


def main() -> None:
    """Print the FLOP table of an editor of Stable Diffusion's size at 512 x 512, and of the pocket editor."""
    from via.backbones import load
    from via.flops import stable_diffusion_unet, swap_cost, table

    print("Stable Diffusion 1.5 with eight input channels, 512 x 512, group of 4")
    print(table(swap_cost(stable_diffusion_unet(), (64, 64), (77, 768))))
    pocket = load("pocket")
    side = pocket.default_side // pocket.latent_factor
    print("\nThe pocket editor, 128 x 128, group of 4")
    print(table(swap_cost(pocket.unet, (side, side), (17, 128))))


if __name__ == "__main__":
    main()
