"""A whole session in a real browser (Chromium), by keyboard: `nox -s browser`. Not collected by `nox -s tests`.

Pictures are kept in the folder that --basetemp names, or in pytest's own.
"""

import json
import re
import zipfile

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
FRAMES = 24
PANELS = ("source", "left", "right")

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
    from pathlib import Path

    program = next((path for path in CHROMIUM if Path(path).exists()), None)
    if program is None:
        pytest.fail(f"no Chromium at {', '.join(CHROMIUM)}: install it (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run", frames=FRAMES, size=(120, 160))


@pytest.fixture
def folder(tmp_path, long_run):
    make_study(tmp_path / "study", long_run, votes=1)
    return tmp_path / "study"


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


def enter(page: Page, served: Served, key, session="s001") -> None:
    page.goto(f"{served.address}/s?token={key.token(session)}")


def saved(page: Page) -> None:
    page.wait_for_function("document.getElementById('saved').textContent === 'Saved'")


def test_a_whole_session_by_keyboard(chromium, folder, tmp_path):
    study, key = read_study(folder), read_key(folder)
    given = {}
    with Served(folder) as served:
        page, watch = opened(chromium, served.address)
        enter(page, served, key)
        page.wait_for_selector("text=Before you begin")
        page.screenshot(path=tmp_path / "1-consent.png")
        consent_and_questions(page, study)
        page.screenshot(path=tmp_path / "2-practice.png")
        practise(page, study)
        total = len(study.sessions["s001"].tasks)
        for number in range(total):
            page.wait_for_selector(f"text=Task {number + 1} of {total}")
            unlock(page)
            keys = ["1", "2", "3"][number % 3 :] + ["1", "2", "3"][: number % 3]
            press(page, *keys)
            task = study.sessions["s001"].tasks[number]
            for aspect, pressed in zip(study.aspects, keys):
                given[task, aspect] = {"1": "left", "2": "right", "3": "tie"}[pressed]
            saved(page)
            if number == 1:
                page.screenshot(path=tmp_path / "3-task.png")
            press(page, "Enter")
        page.wait_for_selector("text=Two last questions")
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
    votes = stored_votes(folder / "votes.sqlite", study)
    assert {(v["task"], v["aspect"]): v["answer"] for v in votes} == given
    assert all(v["play_ms_left"] > 500 and v["shown_at"] < v["answered_at"] for v in votes)


def test_the_three_panels_show_one_frame_while_playing_stepping_and_slowed(chromium, folder):
    study, key = read_study(folder), read_key(folder)
    with Served(folder) as served:
        page, watch = opened(chromium, served.address)
        enter(page, served, key)
        consent_and_questions(page, study)
        press(page, "Space")
        seen, apart = set(), []
        for speed in (None, "[", "]", "]"):
            if speed:
                press(page, speed)
            for _ in range(25):
                shown = page.evaluate(READ_FRAMES)
                # one practice side is degraded, where the number cannot be read
                frames = [
                    shown["source"],
                    *(shown[p] for p in PANELS[1:] if not degraded(page, key, study, p)),
                ]
                seen.update(frames)
                apart.append(max(frames) - min(frames))
                page.wait_for_timeout(37)
        assert max(apart) == 0
        assert len(seen) > FRAMES / 2
        press(page, "Space")
        page.wait_for_timeout(200)
        before = page.evaluate(READ_FRAMES)["source"]
        for step in range(1, FRAMES + 2):
            press(page, ".")
            expected = (before + step) % FRAMES
            page.wait_for_function(
                f"document.querySelector('output').textContent === '{expected + 1} of {FRAMES}'"
            )
            page.wait_for_timeout(60)
            assert page.evaluate(READ_FRAMES)["source"] == expected
        press(page, ",")
        page.wait_for_function(
            f"document.querySelector('output').textContent === '{expected or FRAMES} of {FRAMES}'"
        )
        assert watch.complaints == []


def degraded(page, key, study, panel):
    """Whether this side of the first practice task is the degraded one."""
    task = study.sessions["s001"].training[0]
    return key.expected[task] != panel


def test_holding_s_shows_the_source_in_place_of_both(chromium, folder, tmp_path):
    study, key = read_study(folder), read_key(folder)
    pixel = """name => [...document.querySelector(`canvas[data-panel=${name}]`).getContext('2d')
        .getImageData(80, 100, 1, 1).data].slice(0, 3)"""
    with Served(folder) as served:
        page, _ = opened(chromium, served.address)
        enter(page, served, key)
        consent_and_questions(page, study)
        page.wait_for_timeout(500)
        before = page.evaluate(pixel, "left")
        page.keyboard.down("s")
        assert page.evaluate(pixel, "left") == page.evaluate(pixel, "source") != before
        assert page.inner_text("figure:nth-child(2) .other") == "showing the source"
        page.screenshot(path=tmp_path / "source.png")
        page.keyboard.up("s")
        assert page.evaluate(pixel, "left") == before


def test_scrubbing_to_the_end_does_not_unlock(chromium, folder):
    study, key = read_study(folder), read_key(folder)
    with Served(folder) as served:
        page, _ = opened(chromium, served.address)
        enter(page, served, key)
        consent_and_questions(page, study)
        page.focus("input[type=range]")
        press(page, "End")
        page.wait_for_timeout(500)
        assert page.inner_text("output") == f"{FRAMES} of {FRAMES}"
        assert page.is_disabled("fieldset input >> nth=0")
        assert "Locked" in page.inner_text(".lock")
        press(page, "1")
        assert page.locator("fieldset input:checked").count() == 0


def test_reload_and_restart_in_the_middle_of_a_task_lose_nothing(chromium, folder, tmp_path):
    study, key = read_study(folder), read_key(folder)
    with Served(folder) as served:
        page, _ = opened(chromium, served.address)
        enter(page, served, key)
        consent_and_questions(page, study)
        practise(page, study)
        unlock(page)
        press(page, "1", "2")
        saved(page)
        page.reload()
        page.wait_for_selector("text=Task 1 of")
        assert page.locator("fieldset input:checked").count() == 2
        served.kill()
        unlock(page)
        press(page, "3")  # the third question, while nobody answers
        page.wait_for_function("document.getElementById('saved').textContent.startsWith('Offline')")
        page.screenshot(path=tmp_path / "offline.png")
        served.start()
        saved(page)
        page.reload()
        page.wait_for_selector("text=Task 2 of")
    votes = {v["aspect"]: v["answer"] for v in stored_votes(folder / "votes.sqlite", study)}
    assert votes == dict(zip(study.aspects, ("left", "right", "tie")))


def test_an_answer_given_without_a_server_survives_a_reload(chromium, folder):
    study, key = read_study(folder), read_key(folder)
    with Served(folder) as served:
        page, _ = opened(chromium, served.address)
        enter(page, served, key)
        consent_and_questions(page, study)
        practise(page, study)
        unlock(page)
        page.route("**/api/answer/**", lambda route: route.abort())
        press(page, "2", "2", "2")
        page.wait_for_function("document.getElementById('saved').textContent.startsWith('Offline')")
        page.unroute("**/api/answer/**")
        page.reload()
        page.wait_for_selector("text=Task 2 of")
        saved(page)
    assert [v["answer"] for v in stored_votes(folder / "votes.sqlite", study)] == ["right"] * 3


ACCESSIBILITY = """() => {
  const faults = [];
  const named = node => (node.getAttribute('aria-label') || node.textContent || '').trim()
    || (node.labels && node.labels.length && node.labels[0].textContent.trim()) || node.title;
  for (const node of document.querySelectorAll('button, a[href], select, textarea, input:not([type=hidden]):not([hidden])')) {
    if (!named(node)) faults.push('no name: ' + node.outerHTML.slice(0, 80));
  }
  for (const node of document.querySelectorAll('canvas, [role=img]')) {
    if (!node.getAttribute('aria-label')) faults.push('no label: ' + node.outerHTML.slice(0, 80));
  }
  for (const group of document.querySelectorAll('fieldset')) {
    if (!group.querySelector('legend')) faults.push('no legend');
  }
  if (!document.documentElement.lang) faults.push('no language');
  if (!document.title) faults.push('no title');
  if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
  if (!document.querySelector('main')) faults.push('no main');
  if (!document.querySelector('[role=status]')) faults.push('no live region');
  const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  if (new Set(ids).size !== ids.length) faults.push('an id stands twice');
  if ([...document.querySelectorAll('[tabindex]')].some(node => Number(node.getAttribute('tabindex')) > 0)) faults.push('tabindex above 0');
  const luminance = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * x + .7152 * y + .0722 * z; };
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const ground = node => { for (let n = node; n; n = n.parentElement) { const c = numbers(getComputedStyle(n).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    const box = node.getBoundingClientRect();
    if (!text || !box.width || box.right < 0 || node.closest('dialog:not([open]), noscript, option, :disabled') || node.matches('label:has(:disabled), label:has(:disabled) *')) continue;
    const a = luminance(numbers(getComputedStyle(node).color)), b = luminance(ground(node));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  return faults;
}"""


def test_labels_contrast_focus_order_and_visible_focus(chromium, folder, tmp_path):
    study, key = read_study(folder), read_key(folder)
    with Served(folder) as served:
        page, _ = opened(chromium, served.address)
        enter(page, served, key)
        page.wait_for_selector("text=Before you begin")
        assert page.evaluate(ACCESSIBILITY) == []
        consent_and_questions(page, study)
        unlock(page)
        assert page.evaluate(ACCESSIBILITY) == []
        page.evaluate("document.getElementById('main').focus()")
        order = []
        for _ in range(24):
            press(page, "Tab")
            place = page.evaluate("""() => { const n = document.activeElement; const style = getComputedStyle(n);
                return [n.dataset.panel || (n.closest('fieldset') || {dataset: {}}).dataset.question || n.textContent || n.type,
                        style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; }""")
            assert place[1], f"no visible focus on {place[0]}"
            if place[0] not in order:
                order.append(place[0])
            if place[0] == study.aspects[-1]:
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


@pytest.mark.parametrize(
    ("width", "height", "scale"), [(1280, 720, 1), (640, 360, 2)], ids=["1280x720", "zoom-200"]
)
def test_nothing_is_cut_off(chromium, folder, tmp_path, width, height, scale):
    study, key = read_study(folder), read_key(folder)
    with Served(folder) as served:
        page, _ = opened(chromium, served.address, width=width, height=height, scale=scale)
        enter(page, served, key)
        consent_and_questions(page, study)
        unlock(page)
        page.screenshot(path=tmp_path / "task.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = page.evaluate("""() => [...document.querySelectorAll('canvas, button, label, output')]
            .filter(n => !n.closest('dialog')).map(n => { const b = n.getBoundingClientRect();
            return [n.tagName, b.left, b.right, b.width, b.height]; })""")
        for name, left, right, wide, high in boxes:
            assert left >= 0, name
            assert right <= width + 1, name
            assert min(wide, high) > 8, name
        if scale == 1:  # everything of a task is on one screen
            assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        press(page, *"123")
        saved(page)


def test_html_in_an_instruction_is_text(chromium, tmp_path):
    hostile = "<img src=x onerror=document.title='owned'><b>make</b> {} {}"
    run = make_run(tmp_path / "run", frames=6, size=(60, 80), instruction=hostile)
    make_study(tmp_path / "study", run, votes=1)
    study, key = read_study(tmp_path / "study"), read_key(tmp_path / "study")
    with Served(tmp_path / "study") as served:
        page, watch = opened(chromium, served.address)
        enter(page, served, key)
        consent_and_questions(page, study)
        assert "<img src=x onerror" in page.inner_text(".instruction p")
        assert page.title() == "Comparing edited videos"
        assert watch.complaints == []


def test_a_preview_walks_through_and_stores_nothing(chromium, folder):
    study = read_study(folder)
    with Served(folder) as served:
        page, watch = opened(chromium, served.address)
        page.goto(f"{served.address}/s")
        page.wait_for_selector("text=Preview: nothing is stored.")
        consent_and_questions(page, study)
        for _ in range(study.settings.training):
            unlock(page)
            press(page, *"222")
            press(page, "Enter")
        page.wait_for_selector("text=Nothing was stored")
        assert watch.complaints == []
    assert stored_votes(folder / "votes.sqlite", study) == []


def test_the_offline_bundle_from_a_file(chromium, folder, tmp_path):
    study, key = read_study(folder), read_key(folder)
    (bundle,) = export_offline(folder, study, key, ["s002"], tmp_path / "out")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "opened")
    address = (tmp_path / "opened" / "study-s002" / "index.html").as_uri()
    page, watch = opened(chromium, address)
    page.goto(address)
    consent_and_questions(page, study)
    page.screenshot(path=tmp_path / "offline-practice.png")
    practise(page, study)
    total, given = len(study.sessions["s002"].tasks), {}
    for number in range(total):
        page.wait_for_selector(f"text=Task {number + 1} of {total}")
        unlock(page)
        press(page, *"132")
        given |= dict.fromkeys([(study.sessions["s002"].tasks[number], a) for a in study.aspects])
        given |= {
            (study.sessions["s002"].tasks[number], a): v
            for a, v in zip(study.aspects, ("left", "tie", "right"))
        }
        saved(page)
        if number == 2:  # half a session is not lost by closing the page
            page.reload()
            page.wait_for_selector(f"text=Task {number + 2} of")
            with page.expect_download() as download:
                page.click("text=Save my answers")
            download.value.save_as(tmp_path / "half.json")
        else:
            press(page, "Enter")
    page.wait_for_selector("text=Two last questions")
    tab_to(page, ".sheet button.primary")
    press(page, "Enter")
    page.wait_for_selector("text=One step is left")
    page.screenshot(path=tmp_path / "offline-end.png")
    with page.expect_download() as download:
        page.click("main >> text=Save my answers")
    assert download.value.suggested_filename == "answers-s002.json"
    download.value.save_as(tmp_path / "answers-s002.json")
    assert watch.strangers == []
    assert watch.complaints == []
    import_files(folder, [tmp_path / "answers-s002.json"])
    assert {(v["task"], v["aspect"]): v["answer"] for v in read_votes(folder / "votes.jsonl")} == given
    continued, _ = opened(chromium, address)  # another profile: nothing is remembered, the file is read back
    continued.goto(address)
    continued.wait_for_selector("text=Before you begin")
    continued.set_input_files("input[type=file]", tmp_path / "half.json")
    continued.wait_for_selector(f"text=Task 4 of {total}")
    half = json.loads((tmp_path / "half.json").read_text())
    assert len(half["answers"]) == 3 * 3
