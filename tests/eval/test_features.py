import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from data.types import ArrayClip
from eval import flow
from eval.features import Features, Store


class Counting:
    """An extractor that counts the frames it has seen; features are channel means."""

    def __init__(self, name="counting"):
        self.name, self.seen = name, 0

    @property
    def key(self):
        return {"extractor": self.name}

    def __call__(self, frames):
        self.seen += len(frames)
        return frames.reshape(len(frames), -1, 3).mean(axis=1)


def test_each_frame_is_embedded_once_however_many_ask(moving, tmp_path):
    extractor = Counting()
    features = Features(tmp_path)
    first = features.embed(moving, extractor)
    assert np.array_equal(features.embed(moving, extractor), first)
    again = Features(tmp_path).embed(ArrayClip(moving.frames.copy(), name="renamed"), extractor)
    assert np.array_equal(again, first)
    assert extractor.seen == len(moving)


def test_other_frames_or_another_extractor_never_share_an_entry(moving, tmp_path):
    features = Features(tmp_path)
    plain = features.embed(moving, Counting())
    changed = moving.frames.copy()
    changed[3, 0, 0, 0] ^= 1
    other = features.embed(ArrayClip(changed), Counting())
    assert not np.array_equal(plain, other)
    extractor = Counting("another")
    features.embed(moving, extractor)
    assert extractor.seen == len(moving)


def test_batch_size_does_not_matter(moving, monkeypatch):
    whole = Features().embed(moving, Counting())
    monkeypatch.setattr("eval.features.BATCH", 3)
    assert np.allclose(Features().embed(moving, Counting()), whole, rtol=1e-6)


def test_cached_flow_is_the_computed_one(moving, tmp_path):
    import cv2

    a, b = (cv2.cvtColor(moving.frames[t], cv2.COLOR_RGB2GRAY) for t in (0, 1))
    computed = Features().flows(a, b)
    stored, read = Features(tmp_path).flows(a, b), Features(tmp_path).flows(a, b)
    for got in (stored, read):
        assert np.array_equal(got[0], computed[0])
        assert np.array_equal(got[1], computed[1])
    assert np.array_equal(computed[0], flow.estimate(a, b))
    assert len(list(Path(tmp_path).rglob("*.npy"))) == 1


def test_damaged_entry_is_computed_anew(tmp_path):
    store = Store(tmp_path)
    store.get({"x": "1"}, lambda: np.arange(5))
    (entry,) = tmp_path.rglob("*.npy")
    entry.write_bytes(entry.read_bytes()[:20])
    assert np.array_equal(store.get({"x": "1"}, lambda: np.arange(5)), np.arange(5))
    assert np.array_equal(np.load(entry), np.arange(5))


def test_failed_computation_leaves_nothing_behind(tmp_path):
    def fails():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        Store(tmp_path).get({"x": "1"}, fails)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def _read_often(folder, barrier, faults):
    store = Store(Path(folder))
    barrier.wait()
    for i in range(60):
        got = store.get({"entry": str(i)}, lambda i=i: np.full(4000, i))
        if got.shape != (4000,) or not (got == i).all():
            faults.put((os.getpid(), i))


def test_processes_that_share_a_folder_never_read_half_an_entry(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, faults = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_read_often, args=(str(tmp_path), barrier, faults)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert faults.empty()
    assert len(list(tmp_path.rglob("*.npy"))) == 60
    assert list(tmp_path.rglob("*.partial")) == []


def test_window_of_frames_is_all_that_is_held(moving):
    """Moments before the last two are let go, whatever the length of the clip."""
    import weakref

    from eval.score import Pair
    from eval.walk import moments

    alive = []
    for moment in moments(Pair(moving, moving), Features()):
        alive.append(weakref.ref(moment))
        moment = None
        assert sum(reference() is not None for reference in alive) <= 3
