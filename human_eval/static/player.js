"use strict";
/* One tiled clip, one decoder, three panels: they cannot drift apart. Frame k is sought at (k + 0.5) / fps, because a
   seek to its very edge shows the frame before it in many browsers. "Played" counts distinct frames presented. */

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];

function panelOrigins(panel) {
  const { width: w, height: h, gap } = panel;
  return { source: [Math.floor(Math.floor((w + gap) / 2) / 2) * 2, 0], left: [0, h + gap], right: [w + gap, h + gap] };
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/* task: {media, fps, frames, panel}; url: where its clip is; hooks: changed(), failed(). */
function createPlayer(task, url, hooks) {
  const { width, height } = task.panel;
  const origins = panelOrigins(task.panel);
  const seen = new Set();
  const facts = { seeks: 0, dropped: 0, msBoth: 0, msSource: 0 };
  let frame = 0, speed = 2, sourceOnly = false, lastPresented = 0, lastTime = 0, gone = false, wanted = false, seeking = null;

  const video = element("video", { muted: true, playsinline: true, preload: "auto", "aria-hidden": "true", tabindex: "-1" });
  video.muted = true;
  const whole = element("canvas", { width: 2 * width + task.panel.gap, height: 2 * height + task.panel.gap });
  const canvases = {}, badges = {};
  const figures = [["source", "Source"], ["left", "A"], ["right", "B"]].map(([name, label]) => {
    canvases[name] = element("canvas", { width, height, role: "img", tabindex: "0", "data-panel": name,
      "aria-label": name === "source" ? "Source clip" : `Edit ${label}` });
    badges[name] = element("span", { class: "other" });
    return element("figure", {}, element("figcaption", {}, element("span", {}, label), badges[name]), canvases[name]);
  });
  const playButton = element("button", { type: "button", class: "play", onclick: toggle }, "Play");
  const slider = element("input", { type: "range", min: "0", max: String(task.frames - 1), value: "0", step: "1",
    "aria-label": "Frame", oninput: () => { pause(); show(Number(slider.value)); } });
  const position = element("output", {}, "");
  const speedSelect = element("select", { "aria-label": "Speed", onchange: () => setSpeed(Number(speedSelect.value)) },
    ...SPEEDS.map((value, index) => element("option", { value: index, selected: value === 1 }, `${value}×`)));
  const sourceButton = element("button", { type: "button", "aria-pressed": "false", title: "Hold S",
    onclick: () => showSource(!sourceOnly) }, "Source in place of A and B");
  const root = element("section", { class: "stage", "aria-label": "Player" },
    element("div", { class: "panels" }, ...figures), video,
    element("div", { class: "controls" },
      playButton,
      element("button", { type: "button", onclick: () => step(-1), "aria-label": "One frame back" }, "‹"),
      element("button", { type: "button", onclick: () => step(1), "aria-label": "One frame forward" }, "›"),
      slider, position, speedSelect, sourceButton));
  root.style.setProperty("--ratio", String(width / height));

  /* The video may move on between two reads of it, so it is read once and the panels are cut from that one picture. */
  function draw() {
    whole.getContext("2d").drawImage(video, 0, 0, whole.width, whole.height);
    for (const [name, canvas] of Object.entries(canvases)) {
      const [x, y] = origins[sourceOnly ? "source" : name];
      canvas.getContext("2d").drawImage(whole, x, y, width, height, 0, 0, width, height);
    }
    slider.value = String(frame);
    position.textContent = `${frame + 1} of ${task.frames}`;
    slider.setAttribute("aria-valuetext", `frame ${frame + 1} of ${task.frames}`);
  }

  function presented(now, data) {
    if (gone) return;
    if (data) {
      frame = Math.max(0, Math.min(task.frames - 1, Math.floor(data.mediaTime * task.fps + 0.25)));
      if (lastPresented && data.presentedFrames > lastPresented + 1 && !video.paused) {
        facts.dropped += data.presentedFrames - lastPresented - 1;
      }
      lastPresented = data.presentedFrames;
    }
    note(now);
    draw();
    video.requestVideoFrameCallback(presented);
  }

  function note(now) {
    const elapsed = lastTime ? Math.min(now - lastTime, 200) : 0;
    lastTime = video.paused ? 0 : now;
    if (!video.paused && !document.hidden) {
      facts.msSource += elapsed;
      if (!sourceOnly) facts.msBoth += elapsed;
    }
    if (!sourceOnly && !document.hidden) {
      const before = played();
      seen.add(frame);
      if (before !== played()) hooks.changed();
    }
  }

  function played() { return seen.size / task.frames; }

  async function show(target) {
    frame = Math.max(0, Math.min(task.frames - 1, target));
    facts.seeks += 1;
    const done = new Promise(resolve => video.addEventListener("seeked", resolve, { once: true }));
    video.currentTime = (frame + 0.5) / task.fps;
    seeking = done;
    await done;
    if (!gone && seeking === done) { note(performance.now()); draw(); }
  }

  async function play() {
    wanted = true;
    playButton.textContent = "Pause";
    try { await video.play(); } catch { pause(); }
  }

  function pause() {
    wanted = false;
    video.pause();
    playButton.textContent = "Play";
  }

  function toggle() { if (wanted) pause(); else play(); }

  async function step(by) {
    pause();
    await show((frame + by + task.frames) % task.frames);
  }

  function setSpeed(index) {
    speed = Math.max(0, Math.min(SPEEDS.length - 1, index));
    video.playbackRate = SPEEDS[speed];
    speedSelect.value = String(speed);
  }

  function showSource(on) {
    sourceOnly = on;
    sourceButton.setAttribute("aria-pressed", String(on));
    for (const name of ["left", "right"]) badges[name].textContent = on ? "showing the source" : "";
    if (video.readyState >= 2) draw();
  }

  function hidden() { if (document.hidden) { pause(); lastTime = 0; } }

  video.addEventListener("ended", async () => {
    if (!wanted || gone) return;
    await show(0);
    if (wanted) play();
  });
  video.addEventListener("error", () => { if (!gone) hooks.failed(); });
  video.addEventListener("loadeddata", () => show(0), { once: true });
  document.addEventListener("visibilitychange", hidden);
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(presented);
  else {
    const poll = now => {
      if (gone) return;
      if (!video.paused) { frame = Math.min(task.frames - 1, Math.floor(video.currentTime * task.fps)); note(now); draw(); }
      requestAnimationFrame(poll);
    };
    requestAnimationFrame(poll);
  }
  video.src = url;

  return {
    root, toggle, play, pause, step, showSource, played, facts,
    slower: () => setSpeed(speed - 1),
    faster: () => setSpeed(speed + 1),
    frame: () => frame,
    close() {
      gone = true;
      video.pause();
      video.removeAttribute("src");
      video.load();
      document.removeEventListener("visibilitychange", hidden);
    },
  };
}
