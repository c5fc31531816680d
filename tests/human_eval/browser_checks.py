"""A whole session in a real browser (Chromium), by keyboard: `nox -s browser`; `nox -s tests` needs none.

Pictures are kept in the folder that --basetemp names, or in pytest's own.
"""

import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from served import Served
from study_folders import make_run, make_study

from human_eval.export_offline import export_offline
from human_eval.import_ import import_files
from human_eval.store import stored_votes
from human_eval.study import read_key, read_study
from human_eval.votes import read_votes

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
FRAMES = 12

ACCESSIBILITY = (Path(__file__).parent / "accessibility.js").read_text()

# frame number drawn as six blocks in the top row of each panel, read from its canvas
READ_FRAMES = """() => Object.fromEntries([...document.querySelectorAll('canvas')].map(canvas => {
  const block = canvas.width / 8, context = canvas.getContext('2d');
  let frame = 0;
  for (let bit = 0; bit < 6; bit++) {
    const [r, g, b] = context.getImageData((bit + 1.5) * block, block / 2, 1, 1).data;
    if (r + g + b > 3 * 128) frame |= 1 << bit;
  }
  return [canvas.dataset.panel, frame];
}))"""


@pytest.fixture(scope="module")
def chromium():
    program = next((path for path in CHROMIUM if Path(path).exists()), None)
    if program is None:
        pytest.fail(f"no Chromium at {', '.join(CHROMIUM)}: install it (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study of twelve sessions; each check takes its own."""
    run = make_run(tmp_path_factory.mktemp("runs") / "run", frames=FRAMES, size=(120, 160))
    made = tmp_path_factory.mktemp("studies") / "study"
    make_study(made, run, votes=6)
    return made


@pytest.fixture(scope="module")
def served(folder):
    with Served(folder) as server:
        yield server


@pytest.fixture(scope="module")
def study(folder):
    return read_study(folder)


@pytest.fixture(scope="module")
def key(folder):
    return read_key(folder)


def votes_of(folder, study, session):
    votes = stored_votes(folder / "votes.sqlite", study)
    return [vote for vote in votes if vote["session"] == session]


class Watch:
    """What a page must never do: ask another machine, write errors to the console, fail."""

    def __init__(self, page: Page, address: str) -> None:
        self.strangers: list[str] = []
        self.complaints: list[str] = []
        local = (address, "blob:", "data:", "file:")
        page.on("request", lambda r: None if r.url.startswith(local) else self.strangers.append(r.url))
        page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


def opened(chromium, address, *, scale=1, **viewport):
    size = {"width": 1280, "height": 720} | viewport
    context = chromium.new_context(viewport=size, device_scale_factor=scale, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(90_000)
    return page, Watch(page, address)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, selector: str) -> None:
    """Reach an element by Tab alone."""
    for _ in range(60):
        if page.evaluate("s => document.activeElement && document.activeElement.matches(s)", selector):
            return
        press(page, "Tab")
    raise AssertionError(f"{selector} cannot be reached by Tab")


def consent_and_questions(page: Page, study) -> None:
    page.wait_for_selector("text=Before you begin")
    tab_to(page, ".sheet button.primary")
    press(page, "Enter")
    page.wait_for_selector("form input")
    for number, question in enumerate(study.settings.comprehension):
        tab_to(page, f"input[name=q{number}]")
        press(page, "Space", *["ArrowDown"] * question.answer)
    tab_to(page, "form button")
    press(page, "Enter")
    page.wait_for_selector("canvas")


def unlock(page: Page) -> None:
    """Play until the answers open."""
    assert page.is_disabled("fieldset input >> nth=0")
    press(page, "Space")
    page.wait_for_selector("fieldset input:not([disabled])", timeout=90_000)
    press(page, "Space")


def practise(page: Page, study) -> None:
    for number in range(study.settings.training):
        page.wait_for_selector(f"text=Practice {number + 1} of")
        unlock(page)
        press(page, *"111")
        press(page, "Enter")
        page.wait_for_selector(".note")
        press(page, "Enter")
    page.wait_for_selector("text=Task 1 of")


def enter(page: Page, served: Served, key, session: str) -> None:
    page.goto(f"{served.address}/s?token={key.token(session)}")


def saved(page: Page) -> None:
    page.wait_for_function("() => document.getElementById('saved').textContent === 'Saved'")


def test_a_whole_session_by_keyboard(chromium, served, folder, study, key, tmp_path):
    given = {}
    page, watch = opened(chromium, served.address)
    enter(page, served, key, "s001")
    page.wait_for_selector("text=Before you begin")
    page.screenshot(path=tmp_path / "1-consent.png")
    consent_and_questions(page, study)
    page.screenshot(path=tmp_path / "2-practice.png")
    practise(page, study)
    tasks = study.sessions["s001"].tasks
    for number, task in enumerate(tasks):
        page.wait_for_selector(f"text=Task {number + 1} of {len(tasks)}")
        unlock(page)
        keys = ["1", "2", "3"][number % 3 :] + ["1", "2", "3"][: number % 3]
        press(page, *keys)
        for aspect, pressed in zip(study.aspects, keys):
            given[task, aspect] = {"1": "left", "2": "right", "3": "tie"}[pressed]
        saved(page)
        if number == 1:
            page.screenshot(path=tmp_path / "3-task.png")
        press(page, "Enter")
    page.wait_for_selector("text=Last questions")
    page.screenshot(path=tmp_path / "4-questions.png")
    tab_to(page, "textarea")
    page.keyboard.type("by the edges, and 1 2 3 s ? typed here are text")
    tab_to(page, ".sheet button.primary")
    press(page, "Enter")
    code = page.wait_for_selector(".code").inner_text()
    page.screenshot(path=tmp_path / "5-end.png")
    assert re.fullmatch(r"[A-Z2-7]{8}", code)
    assert watch.strangers == []
    assert watch.complaints == []
    votes = votes_of(folder, study, "s001")
    assert {(v["task"], v["aspect"]): v["answer"] for v in votes} == given
    assert all(v["play_ms_left"] > 500 and v["shown_at"] < v["answered_at"] for v in votes)


def test_the_three_panels_show_one_frame_while_playing_stepping_and_slowed(chromium, served, study, key):
    page, watch = opened(chromium, served.address)
    enter(page, served, key, "s002")
    consent_and_questions(page, study)
    # one practice side is degraded, and the number cannot be read in it
    clean = key.expected[study.sessions["s002"].training[0]]
    press(page, "Space")
    seen, apart = set(), []
    for speed in (None, "[", "]", "]"):
        if speed:
            press(page, speed)
        for _ in range(25):
            shown = page.evaluate(READ_FRAMES)
            seen.add(shown["source"])
            apart.append(abs(shown["source"] - shown[clean]))
            page.wait_for_timeout(37)
    assert max(apart) == 0
    assert len(seen) > FRAMES / 2
    press(page, "Space")
    page.wait_for_timeout(300)
    before = page.evaluate(READ_FRAMES)["source"]
    for step in range(1, FRAMES + 2):
        press(page, ".")
        expected = (before + step) % FRAMES
        page.wait_for_function(SHOWS, arg=[expected, FRAMES])
        page.wait_for_function(f"() => ({READ_FRAMES})().source === {expected}")
    press(page, ",")
    page.wait_for_function(f"() => ({READ_FRAMES})().{clean} === {(expected - 1) % FRAMES}")
    # the one complaint is about this check's own reading of pixels
    assert [text for text in watch.complaints if "getImageData" not in text] == []


SHOWS = "([frame, frames]) => document.querySelector('output').textContent === `${frame + 1} of ${frames}`"
PIXEL = """name => [...document.querySelector(`canvas[data-panel=${name}]`).getContext('2d')
    .getImageData(80, 100, 1, 1).data].slice(0, 3)"""


def test_holding_s_shows_the_source_in_place_of_both(chromium, served, study, key, tmp_path):
    page, _ = opened(chromium, served.address)
    enter(page, served, key, "s003")
    consent_and_questions(page, study)
    page.wait_for_function(SHOWS, arg=[0, FRAMES])
    page.wait_for_function(f"() => ({PIXEL})('left').some(value => value > 0)")
    before = page.evaluate(PIXEL, "left")
    page.keyboard.down("s")
    assert page.evaluate(PIXEL, "left") == page.evaluate(PIXEL, "source") != before
    assert page.inner_text("figure:nth-child(2) .other") == "showing the source"
    page.screenshot(path=tmp_path / "source.png")
    page.keyboard.up("s")
    assert page.evaluate(PIXEL, "left") == before


def test_scrubbing_to_the_end_does_not_unlock(chromium, served, study, key):
    page, _ = opened(chromium, served.address)
    enter(page, served, key, "s004")
    consent_and_questions(page, study)
    page.wait_for_function(SHOWS, arg=[0, FRAMES])
    page.focus("input[type=range]")
    press(page, "End")
    page.wait_for_function(SHOWS, arg=[FRAMES - 1, FRAMES])
    assert page.is_disabled("fieldset input >> nth=0")
    assert "Locked" in page.inner_text(".lock")
    press(page, "1")
    assert page.locator("fieldset input:checked").count() == 0


def test_reload_and_kill_in_the_middle_of_a_task_lose_nothing(chromium, served, folder, study, key, tmp_path):
    page, _ = opened(chromium, served.address)
    enter(page, served, key, "s005")
    consent_and_questions(page, study)
    practise(page, study)
    unlock(page)
    press(page, "1", "2")
    saved(page)
    page.reload()
    page.wait_for_selector("text=Task 1 of")
    assert page.locator("fieldset input:checked").count() == 2
    unlock(page)
    served.kill()
    press(page, "3")  # the third question, while nobody answers
    page.wait_for_function("() => document.getElementById('saved').textContent.startsWith('Offline')")
    page.screenshot(path=tmp_path / "offline.png")
    served.start()
    saved(page)
    page.reload()
    page.wait_for_selector("text=Task 2 of")
    votes = {v["aspect"]: v["answer"] for v in votes_of(folder, study, "s005")}
    assert votes == dict(zip(study.aspects, ("left", "right", "tie")))


def test_an_answer_given_without_a_connection_survives_a_reload(chromium, served, folder, study, key):
    page, _ = opened(chromium, served.address)
    enter(page, served, key, "s006")
    consent_and_questions(page, study)
    practise(page, study)
    unlock(page)
    page.route("**/api/answer/**", lambda route: route.abort())
    press(page, "2", "2", "2")
    page.wait_for_function("() => document.getElementById('saved').textContent.startsWith('Offline')")
    page.unroute("**/api/answer/**")
    page.reload()
    page.wait_for_selector("text=Task 2 of")
    saved(page)
    assert [v["answer"] for v in votes_of(folder, study, "s006")] == ["right"] * 3


FOCUS = """() => {
  const node = document.activeElement, style = getComputedStyle(node), group = node.closest('fieldset');
  const name = node.dataset.panel || (group && group.dataset.question) || node.textContent || node.type;
  return [name, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
}"""


def test_labels_contrast_focus_order_and_visible_focus(chromium, served, study, key, tmp_path):
    page, _ = opened(chromium, served.address)
    enter(page, served, key, "s007")
    page.wait_for_selector("text=Before you begin")
    assert page.evaluate(ACCESSIBILITY) == []
    consent_and_questions(page, study)
    unlock(page)
    assert page.evaluate(ACCESSIBILITY) == []
    page.evaluate("document.getElementById('main').focus()")
    order = []
    for _ in range(24):
        press(page, "Tab")
        name, is_visible = page.evaluate(FOCUS)
        assert is_visible, f"no visible focus on {name}"
        if name not in order:
            order.append(name)
        if name == study.aspects[-1]:
            break
    wanted = ["source", "left", "right", *study.aspects]
    assert [name for name in order if name in wanted] == wanted
    page.screenshot(path=tmp_path / "focus.png")
    press(page, "?")
    assert page.evaluate("document.getElementById('help').open")
    assert page.evaluate(ACCESSIBILITY) == []
    page.screenshot(path=tmp_path / "help.png")
    press(page, "?")
    assert not page.evaluate("document.getElementById('help').open")


BOXES = """() => [...document.querySelectorAll('canvas, button, label, output')].filter(node =>
!node.closest('dialog'))
  .map(node => [node.tagName, node.getBoundingClientRect()])
  .map(([name, box]) => [name, box.left, box.right, box.width, box.height])"""


@pytest.mark.parametrize(
    ("width", "height", "scale", "session"),
    [(1280, 720, 1, "s008"), (640, 360, 2, "s009")],
    ids=["1280x720", "zoom-200"],
)
def test_nothing_is_cut_off(chromium, served, study, key, tmp_path, width, height, scale, session):
    page, _ = opened(chromium, served.address, width=width, height=height, scale=scale)
    enter(page, served, key, session)
    consent_and_questions(page, study)
    unlock(page)
    page.screenshot(path=tmp_path / "task.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name, left, right, wide, high in page.evaluate(BOXES):
        assert left >= 0, name
        assert right <= width + 1, name
        assert min(wide, high) > 8, name
    if scale == 1:  # everything of a task is on one screen
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    press(page, *"123")
    saved(page)


def test_html_in_an_instruction_is_text(chromium, tmp_path):
    hostile = "<img src=x onerror=document.title='owned'><b>make</b> {} {}"
    run = make_run(tmp_path / "run", frames=3, size=(60, 80), instruction=hostile)
    make_study(tmp_path / "study", run, votes=1)
    study, key = read_study(tmp_path / "study"), read_key(tmp_path / "study")
    with Served(tmp_path / "study") as served:
        page, watch = opened(chromium, served.address)
        enter(page, served, key, "s001")
        consent_and_questions(page, study)
        assert "<img src=x onerror" in page.inner_text(".instruction p")
        assert page.title() == "Comparing edited videos"
        assert watch.complaints == []


def test_a_preview_walks_through_and_stores_nothing(chromium, served, folder, study):
    before = len(stored_votes(folder / "votes.sqlite", study))
    page, watch = opened(chromium, served.address)
    page.goto(f"{served.address}/s")
    page.wait_for_selector("text=Preview: nothing is stored.")
    consent_and_questions(page, study)
    for number in range(study.settings.training):
        page.wait_for_selector(f"text=Practice {number + 1} of")
        unlock(page)
        press(page, *"222")
        press(page, "Enter")
    page.wait_for_selector("text=Nothing was stored")
    assert watch.complaints == []
    assert len(stored_votes(folder / "votes.sqlite", study)) == before


def test_the_offline_bundle_from_a_file(chromium, folder, study, key, tmp_path):
    (bundle,) = export_offline(folder, study, key, ["s010"], tmp_path / "out")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "opened")
    address = (tmp_path / "opened" / "study-s010" / "index.html").as_uri()
    page, watch = opened(chromium, address)
    page.goto(address)
    consent_and_questions(page, study)
    page.screenshot(path=tmp_path / "offline-practice.png")
    practise(page, study)
    tasks, given = study.sessions["s010"].tasks, {}
    for number, task in enumerate(tasks):
        page.wait_for_selector(f"text=Task {number + 1} of {len(tasks)}")
        unlock(page)
        press(page, *"132")
        given |= {(task, aspect): answer for aspect, answer in zip(study.aspects, ("left", "tie", "right"))}
        saved(page)
        if number == 2:  # half a session is not lost by closing the page
            page.reload()
            page.wait_for_selector(f"text=Task {number + 2} of")
            with page.expect_download() as download:
                page.click("text=Save my answers")
            download.value.save_as(tmp_path / "half.json")
            page.focus("#main")  # Space on the clicked button would press it again
        else:
            press(page, "Enter")
    page.wait_for_selector("text=Last questions")
    tab_to(page, ".sheet button.primary")
    press(page, "Enter")
    page.wait_for_selector("text=One step is left")
    page.screenshot(path=tmp_path / "offline-end.png")
    with page.expect_download() as download:
        page.click("main >> text=Save my answers")
    assert download.value.suggested_filename == "answers-s010.json"
    download.value.save_as(tmp_path / "answers-s010.json")
    assert watch.strangers == []
    assert watch.complaints == []
    import_files(folder, [tmp_path / "answers-s010.json"])
    assert {(v["task"], v["aspect"]): v["answer"] for v in read_votes(folder / "votes.jsonl")} == given
    continued, _ = opened(chromium, address)  # another profile remembers nothing: the file is read back
    continued.goto(address)
    continued.wait_for_selector("text=Before you begin")
    continued.set_input_files("input[type=file]", tmp_path / "half.json")
    continued.wait_for_selector(f"text=Task 4 of {len(tasks)}")
    assert len(json.loads((tmp_path / "half.json").read_text())["answers"]) == 3 * 3
