"""What several metrics share: flow, embeddings and measurements, computed once and, with a folder, kept on
disk.

Entries are addressed by content: the hash of the decoded frames, the extractor with its version and its
weights' hash, the resizer, the dtype. An entry is written under a temporary name and renamed, so that
several processes may share a folder and none ever reads half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import Clip
from data.video import frames_sha256
from eval import flow
from eval.frames import check_frame
from eval.models import Models
from eval.score import Pair

if TYPE_CHECKING:
    from eval.walk import Measurement, Result

REMEMBERED = 16  # clips whose hashes and features stay in memory
BATCH = 16  # frames that an image tower sees at once
FLOW_VERSION = f"dis-medium-1-opencv{cv2.__version__}"
KEPT_FLOW_PIXELS = 256 * 256  # larger flows cost more to keep (8 bytes a pixel and direction) than to compute


class Extractor(Protocol):
    """Turns frames into features. `key` names everything that the result depends on besides the frames."""

    @property
    def key(self) -> dict[str, str]: ...

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 RGB (n, H, W, 3) -> features (n, ...), each frame by itself."""
        ...


class Store:
    """A folder of arrays, addressed by what they were computed from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: dict[str, str], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array kept under `key`, or a computed one, which is then kept."""
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = self.folder / name[:2] / f"{name}.npy"
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except FileNotFoundError:
            pass
        except (ValueError, EOFError, OSError):  # a damaged entry is computed anew, not trusted
            path.unlink(missing_ok=True)
        array = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, path)
        return array


class Features:
    """Everything shared while clips are scored. Without a folder nothing is kept but hashes and
    measurements.
    """

    def __init__(self, cache: Path | None = None, models: Models | None = None) -> None:
        self.store = Store(cache) if cache else None
        self.models = models or Models()
        self._digests: deque[tuple[Clip, str]] = deque(maxlen=REMEMBERED)
        self._embedded: OrderedDict[tuple[str, str], NDArray[Any]] = OrderedDict()
        self._measured: tuple[Pair | None, dict[Any, tuple[Result, float]]] = (None, {})

    def digest(self, clip: Clip) -> str:
        """sha256 of the decoded frames and their size; one pass over the clip, once."""
        for known, digest in self._digests:
            if known is clip:
                return digest
        digest = frames_sha256(check_frame(clip[t], clip.size, clip.name, t) for t in range(len(clip)))
        self._digests.append((clip, digest))
        return digest

    def embed(self, clip: Clip, extractor: Extractor) -> NDArray[Any]:
        """Features (n, ...) of every frame, one pass of the extractor per frame however many metrics ask."""
        digest = self.digest(clip)
        key = {"frames": digest, **extractor.key}
        memory = (digest, json.dumps(extractor.key, sort_keys=True))
        if memory not in self._embedded:

            def compute() -> NDArray[Any]:
                return np.concatenate([extractor(clip[a : a + BATCH]) for a in range(0, len(clip), BATCH)])

            self._embedded[memory] = self.store.get(key, compute) if self.store else compute()
            while len(self._embedded) > REMEMBERED:
                self._embedded.popitem(last=False)
        return self._embedded[memory]

    def flows(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[flow.Flow, flow.Flow]:
        """The default flow between two luma frames uint8 (H, W), a to b and b to a, on their own grids."""

        def compute() -> tuple[flow.Flow, flow.Flow]:
            size = (a.shape[0], a.shape[1])
            return flow.enlarged(flow.estimate(a, b), size), flow.enlarged(flow.estimate(b, a), size)

        if self.store is None or a.size > KEPT_FLOW_PIXELS:
            return compute()
        digests = [hashlib.sha256(x.tobytes() + repr(x.shape).encode()).hexdigest() for x in (a, b)]
        key = {"flow": FLOW_VERSION, "a": digests[0], "b": digests[1]}
        forward, backward = self.store.get(key, lambda: np.stack(compute()))
        return forward, backward

    def measure(self, pair: Pair, kinds: Sequence[type[Measurement]]) -> None:
        """Walk over the pair once for all measurements that are not known yet."""
        from eval.walk import walk

        if self._measured[0] is not pair:
            self._measured = (pair, {})
        known = self._measured[1]
        if wanted := [kind for kind in dict.fromkeys(kinds) if kind not in known]:
            known.update(walk(pair, wanted, self))

    def measured(self, pair: Pair, kind: type[Measurement]) -> Result:
        """The result of one measurement of the pair."""
        self.measure(pair, [kind])
        return self._measured[1][kind][0]

    def seconds(self, pair: Pair, kinds: Sequence[type[Measurement]]) -> float:
        """What the measurements took, as far as they are known."""
        known = self._measured[1] if self._measured[0] is pair else {}
        return sum(known[kind][1] for kind in kinds if kind in known)
