"use strict";
/* The bundle that opens from a file: answers go to IndexedDB and, as a second copy, to localStorage; both may be empty
   after the folder was moved, so "Save my answers" writes a file and "Continue from file" reads it back. */

function canonicalJSON(value) {
  if (Array.isArray(value)) return `[${value.map(canonicalJSON).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}:${canonicalJSON(value[key])}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

function crc32(text) {
  let crc = ~0;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return (~crc >>> 0).toString(16).padStart(8, "0");
}

function createBackend(onSaved) {
  const name = `study-${STUDY.bundle}`;
  let record = null, database = null, state = null;

  function fresh() {
    const bytes = crypto.getRandomValues(new Uint8Array(6));
    const rater = "o" + Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
    return { rater, stage: "consent", attempts: 0, given: {}, rows: {}, texts: [], device: {} };
  }

  function open() {
    return new Promise(resolve => {
      let request;
      try { request = indexedDB.open(name, 1); } catch { resolve(null); return; }
      request.onupgradeneeded = () => request.result.createObjectStore("record");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    });
  }

  function fromDatabase() {
    return new Promise(resolve => {
      if (!database) { resolve(null); return; }
      const request = database.transaction("record").objectStore("record").get("record");
      request.onsuccess = () => resolve(request.result || null);
      request.onerror = () => resolve(null);
    });
  }

  function fromLocalStorage() {
    try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
  }

  function count(candidate) { return candidate ? Object.keys(candidate.rows).length : -1; }

  async function load() {
    database = await open();
    const copies = [await fromDatabase(), fromLocalStorage()].sort((a, b) => count(b) - count(a));
    record = copies[0] || fresh();
    return current();
  }

  function current() {
    state = { ...STUDY.page, stage: record.stage, attempts: record.attempts, given: record.given, expected: STUDY.expected };
    return state;
  }

  function keep() {
    onSaved("saving");
    let copies = 0;
    try { localStorage.setItem(name, JSON.stringify(record)); copies += 1; } catch { /* the database may do */ }
    if (!database) { onSaved(copies ? "saved" : "memory"); return; }
    const transaction = database.transaction("record", "readwrite");
    transaction.objectStore("record").put(JSON.parse(JSON.stringify(record)), "record");
    transaction.oncomplete = () => onSaved("saved");
    transaction.onerror = () => onSaved(copies ? "saved" : "memory");
  }

  function answer(task, aspect, body) {
    record.given[task] = { ...record.given[task], [aspect]: { answer: body.answer, rev: body.rev } };
    if (STUDY.page.tasks.some(item => item.id === task)) record.rows[`${task} ${aspect}`] = { task, aspect, ...body };
    keep();
  }

  async function stage(body) {
    const right = STUDY.comprehension;
    if (body.stage === "consent") record.stage = body.accept ? firstOf(["comprehension", "training", "tasks"]) : "refused";
    else if (body.stage === "comprehension") {
      record.attempts += 1;
      if (right.every((value, index) => body.answers[index] === value)) record.stage = firstOf(["training", "tasks"]);
      else if (record.attempts >= 2) record.stage = "screened_out";
    } else if (body.stage === "training") record.stage = "tasks";
    else if (body.stage === "tasks") record.stage = "feedback";
    else if (body.stage === "feedback") { record.stage = "done"; record.texts = body.texts; record.device = body.device; }
    if (record.stage === "refused") record = { ...fresh(), stage: "refused" };
    keep();
    return current();
  }

  function firstOf(stages) {
    const content = { comprehension: STUDY.comprehension, training: STUDY.page.training, tasks: STUDY.page.tasks };
    return stages.find(stage => content[stage].length);
  }

  function file() {
    const answers = Object.values(record.rows).map(({ played, ...row }) =>
      ({ ...row, rater: record.rater, origin: "offline", schema: 1, study: STUDY.study, session: STUDY.session }));
    const content = { schema: 1, study: STUDY.study, study_hash: STUDY.study_hash, bundle: STUDY.bundle,
      session: STUDY.session, stage: record.stage, texts: record.texts, device: record.device, answers };
    return { ...content, crc32: crc32(canonicalJSON(content)) };
  }

  function save() {
    const url = URL.createObjectURL(new Blob([JSON.stringify(file(), null, 1)], { type: "application/json" }));
    const link = element("a", { href: url, download: `answers-${STUDY.session}.json` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  async function readBack(chosen) {
    let content;
    try { content = JSON.parse(await chosen.text()); } catch { alert(`${chosen.name} is not a file of answers.`); return; }
    const { crc32: sum, ...rest } = content;
    if (sum !== crc32(canonicalJSON(rest))) { alert(`${chosen.name} is damaged.`); return; }
    if (rest.bundle !== STUDY.bundle || rest.session !== STUDY.session) {
      alert(`${chosen.name} belongs to another study or session.`);
      return;
    }
    record = { ...fresh(), stage: rest.stage, texts: rest.texts, device: rest.device };
    for (const row of rest.answers) {
      record.rater = row.rater;
      const body = { ...row, played: 1 };
      for (const key of ["rater", "origin", "schema", "study", "session"]) delete body[key];
      record.rows[`${row.task} ${row.aspect}`] = body;
      record.given[row.task] = { ...record.given[row.task], [row.aspect]: { answer: row.answer, rev: row.rev } };
    }
    if (record.stage === "done") record.stage = "feedback";
    keep();
    setTimeout(() => location.reload(), 300);
  }

  function toolbar() {
    const input = element("input", { type: "file", accept: ".json,application/json", hidden: true, "aria-label": "File of answers",
      onchange: () => { if (input.files[0]) readBack(input.files[0]); } });
    return [
      element("button", { type: "button", onclick: save }, "Save my answers"),
      element("button", { type: "button", onclick: () => input.click() }, "Continue from file"),
      input,
    ];
  }

  function finished() {
    return element("div", {}, element("p", {}, "One step is left: save your answers to a file and send it to the person who gave you this study."),
      element("button", { type: "button", class: "primary", onclick: save }, "Save my answers"));
  }

  return {
    load, answer, stage, toolbar, finished,
    settled: async () => {},
    clip: async task => `clips/${task.media}.mp4`,
    release: async () => {},
    event: () => {},
  };
}
