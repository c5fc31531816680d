"""Image and instruction to condition tokens: a small multimodal encoder and an edit head of MGIE's structure.

As in MGIE the words see the picture, so that the condition differs from frame to frame: the encoder reads
patch tokens, words and eight [IMG] tokens; the edit head maps the last eight states, plus the [IMG]
embeddings, to the tokens that the U-Net attends to. In place of MGIE's language loss, linear classifiers name
what the tokens should carry.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from via.backbones.pocket.unet import PLANES, coordinate_planes

IMAGE_TOKENS = 8


class Named(NamedTuple):
    """What the encoder says about an edit, as logits: (n, classes) each, and the edit region (n, h/2,
    w/2)."""

    kind: torch.Tensor
    argument: torch.Tensor
    subject: torch.Tensor
    answer: torch.Tensor
    region: torch.Tensor


def sine_positions(h: int, w: int, width: int) -> torch.Tensor:
    """Fixed sine-cosine positions (h * w, width) of unit scale; the grid spans [0, 1] whatever its size."""
    y = (torch.arange(h) + 0.5) / h
    x = (torch.arange(w) + 0.5) / w
    frequency = torch.pi * 2.0 ** torch.linspace(0, 4, width // 4)
    rows = torch.cat([torch.sin(y[:, None] * frequency), torch.cos(y[:, None] * frequency)], dim=1)
    columns = torch.cat([torch.sin(x[:, None] * frequency), torch.cos(x[:, None] * frequency)], dim=1)
    grid = torch.cat([rows[:, None].expand(h, w, -1), columns[None].expand(h, w, -1)], dim=2)
    return grid.flatten(0, 1) * 2**0.5


class EditHead(nn.Module):
    """MGIE's edit head: a linear map, a transformer whose decoder turns learned queries, a linear map."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        settings: dict[str, Any] = {
            "d_model": width,
            "nhead": 4,
            "dim_feedforward": 2 * width,
            "dropout": 0.0,
            "batch_first": True,
            "norm_first": True,
        }
        self.into = nn.Linear(width, width)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**settings), 2, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**settings), 2, nn.LayerNorm(width))
        self.out = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Tokens (n, queries, width) of hidden states plus [IMG] embeddings (n, 8, width)."""
        memory = self.encoder(self.into(hidden))
        return self.out(self.decoder(self.queries.expand(len(hidden), -1, -1), memory))


class PocketConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Source latents and words to 1 + 16 condition tokens; the first names the argument, equal for all
    frames."""

    @register_to_config
    def __init__(
        self,
        vocabulary: int,
        kinds: int,
        arguments: int,
        subjects: int,
        latent_channels: int = 16,
        width: int = 128,
        layers: int = 3,
        words: int = 12,
        queries: int = 16,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(latent_channels + PLANES, width, 2, stride=2)
        self.word_embedding = nn.Embedding(vocabulary, width)
        self.word_position = nn.Parameter(torch.randn(words, width))
        self.image_tokens = nn.Parameter(torch.randn(IMAGE_TOKENS, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 3 * width, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = EditHead(width, queries)
        self.classify = nn.ModuleDict(
            {
                "kind": nn.Linear(width, kinds),
                "argument": nn.Linear(width, arguments),
                "subject": nn.Linear(width, subjects),
                "answer": nn.Linear(width, 2),
            }
        )
        self.region = nn.Linear(width, 1)
        self.name_token = nn.Linear(arguments, width)

    def forward(self, latents: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, Named]:
        """Tokens (n, 17, width) and what they are said to be, of latents (n, 16, h, w) and word ids (n,
        12)."""
        patches = self.patches(torch.cat([latents, coordinate_planes(latents)], dim=1))
        n, width, h, w = patches.shape
        positions = sine_positions(h, w, width).to(patches)
        states = torch.cat(
            [
                patches.flatten(2).transpose(1, 2) + positions,
                self.word_embedding(words) + self.word_position,
                self.image_tokens.expand(n, -1, -1),
            ],
            dim=1,
        )
        states = self.encoder(states)
        hidden = states[:, -IMAGE_TOKENS:]
        logits = {name: layer(hidden[:, i]) for i, (name, layer) in enumerate(self.classify.items())}
        region = self.region(states[:, : h * w]).view(n, h, w)
        name = self.name_token(logits["argument"].detach().softmax(-1))
        tokens = self.head(hidden + self.image_tokens)
        return torch.cat([name[:, None], tokens], dim=1), Named(**logits, region=region)

    def null(self) -> torch.Tensor:
        """The tokens (1, 17, width) of no instruction: the head on zeros plus the [IMG] embeddings, and no
        name."""
        tokens = self.head(self.image_tokens[None])
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)
