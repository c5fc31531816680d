import hashlib
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from pydantic import ValidationError

from data import suites
from data.published import Published, PublishedSuite, Remote, distinct, fetch, pairs, published
from data.types import ArrayClip
from data.video import write_lossless

CONTENT = {"/a.mp4": b"a" * 100_000, "/b.mp4": b"b" * 500}


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; a path in `server.cut` breaks off after so many bytes, once."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        data = CONTENT.get(self.path)
        if data is None:
            self.send_error(404 if "gone" in self.path else 503)
            return
        start = (
            int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
        )
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = self.server.cut.pop(self.path, len(data))
        self.wfile.write(data[start:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture(name="server")
def _server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.cut = [], {}
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def suite_of(server, *names, **changed):
    files = {}
    for name in names:
        data = CONTENT.get(f"/{name}", b"")
        remote = {
            "address": f"http://127.0.0.1:{server.server_address[1]}/{name}",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "frames": 1,
            "size": (8, 8),
            "fps": 6,
        }
        files[f"page/{name}"] = Remote(**{**remote, **changed})
    return PublishedSuite(about="", version=1, files=files, pairs=())


def test_files_are_fetched_once_and_verified(server, tmp_path):
    suite = suite_of(server, "a.mp4", "b.mp4")
    assert [one.status for one in fetch(suite, tmp_path)] == ["fetched", "fetched"]
    assert (tmp_path / "page/a.mp4").read_bytes() == CONTENT["/a.mp4"]
    asked = len(server.asked)
    assert [one.status for one in fetch(suite, tmp_path)] == ["present", "present"]
    assert len(server.asked) == asked
    assert list(tmp_path.rglob("*.part")) == []


def test_broken_download_is_resumed_where_it_broke_off(server, tmp_path):
    server.cut["/a.mp4"] = 40_000
    suite = suite_of(server, "a.mp4")
    (first,) = fetch(suite, tmp_path)
    assert first.status == "failed"
    assert "resumes" in first.reason
    assert not (tmp_path / "page/a.mp4").exists()
    (second,) = fetch(suite, tmp_path)
    assert second.status == "fetched"
    assert server.asked[-1] == ("/a.mp4", "bytes=40000-")
    assert (tmp_path / "page/a.mp4").read_bytes() == CONTENT["/a.mp4"]


def test_another_file_at_the_address_is_not_taken(server, tmp_path):
    (outcome,) = fetch(suite_of(server, "b.mp4", sha256="0" * 64), tmp_path)
    assert outcome.status == "failed"
    assert "sha256 differs" in outcome.reason
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_address_that_is_gone_is_said_so_and_the_rest_goes_on(server, tmp_path):
    outcomes = fetch(suite_of(server, "gone.mp4", "down.mp4", "b.mp4"), tmp_path)
    assert [one.status for one in outcomes] == ["gone", "failed", "fetched"]
    assert "is gone (404)" in outcomes[0].reason
    assert "503" in outcomes[1].reason


def test_manifest_carries_addresses_and_hashes_and_no_media():
    suite = published()
    assert len(suite.pairs) > 100
    named = {side.file for pair in suite.pairs for side in (pair.source, pair.edited)}
    assert named == set(suite.files)
    assert all(remote.address.startswith("https://") for remote in suite.files.values())
    assert all(len(remote.sha256) == 64 for remote in suite.files.values())
    assert {pair.method for pair in suite.pairs} > {"VIA", "TokenFlow", "RAVE"}
    assert all(pair.why for pair in suite.pairs if pair.correspond == "no")
    assert "published" not in suites.names()


def test_files_outside_the_folder_are_refused():
    entry = published().pairs[0].model_dump()
    entry["source"]["file"] = "../elsewhere.mp4"
    with pytest.raises(ValidationError):
        Published.model_validate(entry)


def numbered(count, repeats=1):
    """Frame t is grey 10 t + 20, so that every frame can be told by its value."""
    values = np.repeat(np.arange(count) * 10 + 20, repeats).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (len(values), 16, 32, 3)).copy()


def test_pairs_correspond_after_boxes_repeats_steps_and_offsets(tmp_path):
    source = numbered(12)
    source[:, :, 16:] = 255
    edited = 255 - numbered(4, repeats=2)
    write_lossless(tmp_path / "s.mkv", source, Fraction(6))
    write_lossless(tmp_path / "e.mkv", edited, Fraction(6))
    entry = Published(
        clip="x",
        method="m",
        by="authors",
        source={"file": "s.mkv", "box": (0, 0, 16, 16)},
        edited={"file": "e.mkv", "box": (0, 0, 16, 16), "distinct": 4},
        kind="global",
        page="",
        correspond="yes",
        step=2,
        offset=-1,
    )
    suite = PublishedSuite(about="", version=1, files={}, pairs=(entry,))
    ((_, before, after),) = pairs(suite, tmp_path)
    assert len(before) == len(after) == 3
    assert before.size == after.size == (16, 16)
    assert [int(frame[0, 0, 0]) for frame in before[0:3]] == [30, 50, 70]  # frames 1, 3, 5 of the source
    assert [255 - int(frame[0, 0, 0]) for frame in after[0:3]] == [30, 40, 50]  # frames 1, 2, 3 of the edit
    assert before.fps == after.fps == 3
    not_corresponding = entry.model_copy(update={"correspond": "no"})
    assert (
        list(pairs(PublishedSuite(about="", version=1, files={}, pairs=(not_corresponding,)), tmp_path)) == []
    )


def test_repeated_frames_are_dropped():
    clip = ArrayClip(numbered(5, repeats=3))
    assert distinct(clip, 5) == [0, 3, 6, 9, 12]
