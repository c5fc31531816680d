"use strict";
/* Answers go to localStorage first, then to the server, again and again until it says "saved". */

function createBackend(onSaved) {
  let state = null, outbox = {}, running = false, wait = 500;
  const clips = new Map();

  function storeKey() { return `study-${state.key}`; }
  function remember() {
    try { localStorage.setItem(storeKey(), JSON.stringify(outbox)); } catch { /* private mode: memory only */ }
  }
  function recalled() {
    try { return JSON.parse(localStorage.getItem(storeKey()) || "{}"); } catch { return {}; }
  }

  async function request(method, path, body) {
    const response = await fetch(path, {
      method, credentials: "same-origin", cache: "no-store",
      headers: body === undefined ? {} : { "Content-Type": "application/json", "X-Study": "1" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const content = response.status === 204 ? {} : await response.json();
    return { status: response.status, content };
  }

  async function load() {
    const { status, content } = await request("GET", "api/session");
    if (status !== 200) throw new Error(content.error);
    state = content;
    if (!state.preview) {
      outbox = recalled();
      for (const [place, body] of Object.entries(outbox)) {
        const [task, aspect] = place.split(" ");
        state.given[task] = { ...state.given[task], [aspect]: { answer: body.answer, rev: body.rev } };
      }
      if (Object.keys(outbox).length) flush();
    }
    return state;
  }

  function answer(task, aspect, body) {
    if (state.preview) return;
    outbox[`${task} ${aspect}`] = body;
    remember();
    flush();
  }

  async function flush() {
    if (running) return;
    running = true;
    while (Object.keys(outbox).length) {
      onSaved("saving");
      const [place, body] = Object.entries(outbox)[0];
      const [task, aspect] = place.split(" ");
      try {
        const { status, content } = await request("PUT", `api/answer/${task}/${aspect}`, body);
        if (status === 401) throw new Error("expired");
        if (status === 429 || status >= 500) throw new Error("offline");
        wait = 500;
        if (content.expected) state.expected = { ...state.expected, [task]: content.expected };
        if (outbox[place] === body) delete outbox[place];  // a 4xx cannot succeed later: the server's row stands
        remember();
        onSaved(content.stored ? "saved" : "refused");
      } catch (error) {
        onSaved(error.message === "expired" ? "expired" : "offline");
        await new Promise(resolve => setTimeout(resolve, wait));
        wait = Math.min(wait * 2, 10000);
      }
    }
    running = false;
  }

  async function settled() {
    while (Object.keys(outbox).length) await new Promise(resolve => setTimeout(resolve, 50));
  }

  async function stage(body) {
    if (state.preview) return previewStage(body);
    await settled();
    for (;;) {
      try {
        const { status, content } = await request("POST", "api/stage", body);
        if (status < 500 && status !== 429) {
          if (status !== 200) throw Object.assign(new Error(content.error), { final: true });
          const expected = state.expected;
          state = { ...state, ...content, expected };
          return state;
        }
      } catch (error) {
        if (error.final) throw error;
      }
      onSaved("offline");
      await new Promise(resolve => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, 10000);
    }
  }

  function previewStage(body) {
    const order = ["consent", "comprehension", "training", "done"];
    if (body.stage === "consent" && !body.accept) state = { ...state, stage: "refused" };
    else state = { ...state, stage: order[Math.min(order.indexOf(body.stage) + 1, order.length - 1)] };
    return state;
  }

  /* The whole clip in memory before it is shown, and the next one during this one. */
  function clip(task) {
    if (!clips.has(task.media)) {
      clips.set(task.media, fetch(`clip/${task.media}.mp4`, { credentials: "same-origin" })
        .then(response => { if (!response.ok) throw new Error(String(response.status)); return response.blob(); })
        .then(blob => URL.createObjectURL(blob))
        .catch(error => { clips.delete(task.media); throw error; }));
    }
    return clips.get(task.media);
  }

  async function release(task) {
    const url = clips.get(task.media);
    clips.delete(task.media);
    if (url) URL.revokeObjectURL(await url.catch(() => ""));
  }

  function event(kind, value) {
    if (!state.preview) request("POST", "api/event", { kind, value: String(value) }).catch(() => {});
  }

  return { load, answer, settled, stage, clip, release, event };
}
