"""Training of the pocket editor: conditioner and U-Net together, on pairs that show one of the valid
answers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from data.pocket.training import Sample, Sampler
from data.pocket.words import ARGUMENTS, KINDS, SUBJECTS, VOCABULARY, tokenize
from via.backbones.pocket import weights
from via.backbones.pocket.conditioner import PocketConditioner
from via.backbones.pocket.training.loop import Plan
from via.backbones.pocket.training.vae import to_pixels
from via.backbones.pocket.unet import PocketUNet, scheduler, training_timesteps
from via.backbones.pocket.vae import PocketVAE

GLOBAL = KINDS.index("global")
NAMING, REGION = 0.2, 0.3  # weights of the classifiers' and the region's loss
ROLLED = 0.5  # share of a batch that starts from the editor's own latents
JUMPS = 3  # DDIM steps that lead to them
DECIDED = 700  # timestep from which on a sample's answer no longer changes


class Editor(nn.Module):
    """The two networks that are trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.conditioner = PocketConditioner(len(VOCABULARY), len(KINDS), len(ARGUMENTS), len(SUBJECTS))
        self.unet = PocketUNet()


@torch.no_grad()
def pixel_influence(vae: PocketVAE, latents: torch.Tensor) -> torch.Tensor:
    """Mean square change of the pixels that unit noise in each latent channel causes, divided by its
    mean: (c,)."""
    plain = vae.decode(latents).sample
    noise = torch.randn(latents[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(latents)
    change = []
    for channel in range(latents.shape[1]):
        disturbed = latents.clone()
        disturbed[:, channel] += noise
        change.append((vae.decode(disturbed).sample - plain).square().mean())
    influence = torch.stack(change)
    return influence / influence.mean()


class EditorTraining:
    """See `loop.Training`."""

    plan = Plan(samples=350_000, batch=32, learning_rate=7e-4, warmup=200, hold=0.3, ema=0.998)

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sampler = self.open_sampler()
        self.vae = weights.load(PocketVAE, weights.WEIGHTS / "vae").to(device)
        self.model = Editor().to(device)
        if (
            device.type == "cpu"
        ):  # plain products are three times as fast there as the fused kernel, backwards
            self.model.unet.set_attn_processor(AttnProcessor())
        self.schedule = scheduler()
        self.signal = self.schedule.alphas_cumprod.sqrt().to(device)
        rng = np.random.default_rng(1)
        held_out = Sampler("dev")
        self.held_out = [held_out.draw(rng, both=True) for _ in range(48)]
        sources = to_pixels([s.source for s in self.held_out[:16]], device)
        self.influence = pixel_influence(self.vae, self.vae.encode(sources).latent_dist.mode())

    def _latents(self, frames: list[np.ndarray], precision: torch.dtype) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            return self.vae.encode(to_pixels(frames, self.device)).latent_dist.mode().float()

    def _words(self, samples: list[Sample]) -> torch.Tensor:
        return torch.tensor([tokenize(s.instruction) for s in samples], device=self.device)

    @staticmethod
    def open_sampler() -> Sampler:
        return Sampler("train")

    @staticmethod
    def draw(sampler: Sampler, count: int, rng: np.random.Generator) -> list[Sample]:
        return [sampler.draw(rng, both=True) for _ in range(count)]

    def loss(
        self, batch: list[Sample], rng: np.random.Generator, precision: torch.dtype
    ) -> tuple[torch.Tensor, dict[str, float]]:
        samples, count = batch, len(batch)
        shown = ("source", "edited", "other_answer")
        frames = [getattr(sample, name) for name in shown for sample in samples]
        source, edited, other = self._latents(frames, precision).chunk(3)
        masks = torch.from_numpy(np.stack([s.mask for s in samples])).to(self.device)[:, None].float() / 255
        local = torch.tensor([s.kind != GLOBAL for s in samples], device=self.device)[:, None, None, None]
        cells = F.avg_pool2d(masks, 8)
        tokens, named = self.model.conditioner(source.to(precision), self._words(samples))

        draw = torch.from_numpy(rng.random((count, 1, 1), dtype=np.float32)).to(self.device)
        tokens = torch.where(draw < 0.10, self.model.conditioner.null(), tokens)
        keeps_image = (draw < 0.05) | (draw >= 0.15)
        image_latents = source * keeps_image[..., None]
        steps = training_timesteps(torch.from_numpy(rng.random(count)), len(self.signal)).to(self.device)
        noise = torch.from_numpy(rng.standard_normal(edited.shape, dtype=np.float32)).to(self.device)

        def x0(noisy: torch.Tensor, steps: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
            latents = torch.cat([noisy, image_latents[rows]], 1).to(precision)
            return self.model.unet(latents, steps, tokens[rows]).sample.float()

        rolled = slice(0, int(ROLLED * count))
        steps[rolled] = torch.from_numpy(rng.integers(len(self.signal), size=rolled.stop)).to(steps)
        noisy = self._noised(edited, noise, steps)
        reached, guess = self._rolled_out(lambda z, t: x0(z, t, rolled), noise[rolled], steps[rolled])
        # the data say which answer a frame is shown while it is open; later it is the one under way
        far = [
            ((guess - answer[rolled]).square() * cells[rolled]).sum((1, 2, 3)) for answer in (edited, other)
        ]
        turned = (steps[rolled] < DECIDED) & (far[1] < far[0])
        under_way = torch.where(turned[:, None, None, None], other[rolled], edited[rolled])
        wanted = torch.cat([under_way, edited[rolled.stop :]])
        predicted = x0(torch.cat([reached, noisy[rolled.stop :]]), steps)

        square = (predicted - wanted).square() * self.influence[:, None, None]
        denoising = (square * (1 + 3 * cells * local)).mean()
        naming = torch.zeros((), device=self.device)
        for name, logits in zip(("kind", "argument", "subject", "answer"), named):
            labels = torch.tensor([getattr(sample, name) for sample in samples], device=self.device)
            naming = naming + F.cross_entropy(logits.float(), labels)
        region = F.binary_cross_entropy_with_logits(named.region.float(), F.avg_pool2d(masks, 16)[:, 0])
        right = named.answer.argmax(-1).cpu().numpy() == [s.answer for s in samples]
        squared = square.detach()

        def inside(rows: slice) -> float:
            weight = cells[rows].sum().clamp(min=1e-6) * square.shape[1]
            return float((squared[rows] * cells[rows]).sum() / weight)

        figures = {
            "x0": float(squared[rolled.stop :].mean()),
            "x0_rolled": float(squared[rolled].mean()),
            "inside": inside(slice(rolled.stop, None)),
            "inside_rolled": inside(rolled),
            "naming": float(naming.detach()),
            "region": float(region.detach()),
            "answer": float(np.mean(right)),
            "spread": float(tokens.detach()[:, 1:].float().std(1).mean()),
        }
        return denoising + NAMING * naming + REGION * region, figures

    def _noised(self, x0: torch.Tensor, noise: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Latents (n, c, h, w) at these timesteps (n,)."""
        signal = self.signal[steps][:, None, None, None]
        return signal * x0 + (1 - signal.square()).sqrt() * noise

    @torch.no_grad()
    def _rolled_out(
        self,
        x0: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        noise: torch.Tensor,
        steps: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The editor's own way from noise (n, c, h, w) to these timesteps (n,) in a few DDIM steps, and its
        last x0.

        Noised answers are not what sampling meets: its latents carry the errors of the steps before, which
        it can learn to mend only where it sees them.
        """
        first = torch.full_like(steps, len(self.signal) - 1)
        latents, guess = noise, noise
        for jump in range(JUMPS):
            now, then = (first - (first - steps) * k // JUMPS for k in (jump, jump + 1))
            guess = x0(latents, now)
            signal = self.signal[now][:, None, None, None]
            estimated = (latents - signal * guess) / (1 - signal.square()).sqrt()
            latents = self._noised(guess, estimated, then)
        return latents, guess

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        """PSNR (dB) inside the mask to the nearer answer, ten steps without guidance, how often it is the one
        shown, and a picture of some."""
        source = self._latents([s.source for s in self.held_out], torch.float32)
        tokens, named = self.model.conditioner(source, self._words(self.held_out))
        noise = torch.from_numpy(np.random.default_rng(2).standard_normal(source[:1].shape, dtype=np.float32))
        latents = noise.to(self.device).expand_as(source)
        self.schedule.set_timesteps(10, device=self.device)
        for t in self.schedule.timesteps:
            x0 = self.model.unet(torch.cat([latents, source], 1), t, tokens).sample
            latents = self.schedule.step(x0, t, latents, return_dict=False)[0]
        pixels = self.vae.decode(latents).sample.clamp(-1, 1)
        answers = [
            to_pixels([getattr(s, name) for s in self.held_out], self.device)
            for name in ("edited", "other_answer")
        ]
        masks = (
            torch.from_numpy(np.stack([s.mask for s in self.held_out])).to(self.device)[:, None].float() / 255
        )
        square = torch.stack([((pixels - answer) / 2).square().mean(1, keepdim=True) for answer in answers])
        squares, nearer = (square * masks).sum((2, 3, 4)).min(0)
        kinds = torch.tensor([s.kind for s in self.held_out])
        figures = {"shown": float((nearer == 0).float().mean())}
        for index, name in enumerate(KINDS):
            of = kinds == index
            figures[f"{name}_db"] = float(-10 * torch.log10(squares[of].sum() / masks[of].sum()))
        figures["argument_right"] = float(
            np.mean(named.argument.argmax(-1).cpu().numpy() == [s.argument for s in self.held_out])
        )
        order = torch.argsort(kinds, stable=True)[:: max(1, len(kinds) // 20)][:20]
        rows = [
            to_pixels([self.held_out[i].source for i in order], self.device),
            pixels[order],
            answers[0][order],
        ]
        picture = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        return figures, ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    def finish(self, log: list[dict[str, float]], hours: float) -> Path:
        folder = weights.WEIGHTS / "editor"
        for name, model in (("conditioner", self.model.conditioner), ("unet", self.model.unet)):
            config: dict[str, Any] = {k: model.config[k] for k in _arguments(model)}
            weights.save(model, config, folder / name)
            weights.write_card(folder / name, {"what": f"{name} of the pocket editor; see ../card.json"})
        weights.write(
            folder / "card.json",
            json.dumps(
                {
                    "what": "pocket editor: an InstructPix2Pix U-Net with MGIE's edit head",
                    "recipe": vars(self.plan),
                    "samples": int(log[-1]["samples"]),
                    "hours": round(hours, 2),
                    "held_out": self.evaluate()[0],
                    "curve": log,
                    "data": weights.DATA,
                },
                indent=2,
            )
            + "\n",
        )
        return folder


def _arguments(model: nn.Module) -> list[str]:
    return list(inspect.signature(type(model).__init__).parameters)[1:]
