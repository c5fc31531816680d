"use strict";
/* The stages of a session: consent, comprehension, training, tasks, last questions, code. */

(() => {
  const main = document.getElementById("main");
  const savedLabel = document.getElementById("saved");
  const help = document.getElementById("help");
  const words = {
    saved: "Saved", saving: "Saving …", offline: "Offline: answers are kept here", refused: "Not accepted: reload the page",
    expired: "Open your link again: answers are kept here",
    memory: "Kept in this window only: save your answers",
  };
  const backend = createBackend(status => {
    savedLabel.textContent = words[status];
    savedLabel.classList.toggle("waiting", status !== "saved");
  });
  let state = null, current = null, droppedFrames = 0;

  function show(node, { focus = true } = {}) {
    main.replaceChildren(node);
    if (focus) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
  }

  function sheet(...children) { return element("div", { class: "sheet" }, ...children); }

  function button(label, action, attributes = {}) {
    return element("button", { type: "button", class: "primary", onclick: action, ...attributes }, label);
  }

  function progress(done, total) {
    const box = document.getElementById("progress");
    box.hidden = total === 0;
    document.getElementById("bar").max = Math.max(total, 1);
    document.getElementById("bar").value = done;
    document.getElementById("count").textContent = total ? `${done} of ${total} done` : "";
  }

  async function move(body) {
    try { enter(await backend.stage(body)); }
    catch (error) { show(sheet(element("h2", {}, "That did not work"), element("p", {}, error.message),
      button("Reload", () => location.reload()))); }
  }

  function enter(next) {
    state = next;
    if (current) { current.close(); current = null; }
    const stages = { consent, comprehension, training, tasks, feedback, done, refused, screened_out: screenedOut };
    stages[state.stage]();
  }

  function consent() {
    progress(0, 0);
    show(sheet(
      state.preview ? element("p", { class: "note" }, "Preview: nothing is stored.") : "",
      element("h2", {}, "Before you begin"),
      ...state.consent.split(/\n\s*\n/).map(text => element("p", {}, text)),
      element("div", { class: "row" },
        button("I agree and take part", () => move({ stage: "consent", accept: true })),
        element("button", { type: "button", onclick: () => move({ stage: "consent", accept: false }) }, "I do not take part"))));
  }

  function comprehension() {
    const form = element("form", { onsubmit: submit });
    state.comprehension.forEach((item, index) => {
      form.append(element("fieldset", { class: "plain" },
        element("legend", {}, item.question),
        element("div", { class: "options column" }, ...item.options.map((option, value) =>
          element("label", {}, element("input", { type: "radio", name: `q${index}`, value, required: true }), option)))));
    });
    form.style.display = "grid";
    form.style.gap = ".8rem";
    form.append(element("div", { class: "row" }, element("button", { class: "primary" }, "Continue")));
    const note = state.attempts ? element("p", { class: "note wrong", role: "alert" },
      "Not all answers were right. Read the questions again; you have one more try.") : "";
    const labels = state.answers.map(answer => answer.label);
    show(sheet(element("h2", {}, "Questions about the task"),
      element("p", {}, "In each task you see three clips that play together: the source above, and two edits of it, A and B, below. An instruction says what the edits were asked to do. "
        + `Then come these questions, each answered with ${labels.slice(0, -1).join(", ")} or ${labels.at(-1)}:`),
      element("ul", {}, ...state.aspects.map(aspect => element("li", {}, aspect.question))),
      note, form));
    function submit(event) {
      event.preventDefault();
      const answers = state.comprehension.map((_, index) => Number(new FormData(form).get(`q${index}`)));
      move({ stage: "comprehension", answers, attempts: state.attempts });
    }
  }

  function training() { runTasks(state.training, "training"); }
  function tasks() { runTasks(state.tasks, "tasks"); }

  function isAnswered(task) { return state.aspects.every(aspect => (state.given[task.id] || {})[aspect.name]); }

  function runTasks(list, stage) {
    const next = list.find(task => !isAnswered(task)) || null;
    if (next === null) { move({ stage }); return; }
    openTask(list, list.indexOf(next), stage);
  }

  async function openTask(list, index, stage) {
    if (current) current.close();
    const task = list[index];
    const inTraining = stage === "training";
    progress(inTraining ? 0 : list.filter(isAnswered).length, inTraining ? 0 : list.length);
    show(element("p", { class: "wait" }, "Loading the clip …"));
    let url;
    try { url = await backend.clip(task); }
    catch {
      show(sheet(element("p", {}, "The clip could not be loaded."), button("Try again", () => openTask(list, index, stage))));
      return;
    }
    if (list[index + 1]) backend.clip(list[index + 1]).catch(() => {});
    const shownAt = new Date().toISOString();
    let locked = !isAnswered(task), feedbackShown = false, closed = false;
    const player = createPlayer(task, url, { changed: update, failed: () => backend.event("clip_failed", task.id) });

    const lock = element("p", { class: "lock", role: "status" }, "");
    const groups = state.aspects.map((aspect, number) => {
      const options = state.answers.map((answer, key) => {
        const input = element("input", { type: "radio", name: aspect.name, value: answer.value, disabled: locked,
          onchange: () => give(number, answer.value) });
        input.checked = ((state.given[task.id] || {})[aspect.name] || {}).answer === answer.value;
        return element("label", {}, input, answer.label, " ", element("kbd", { "aria-hidden": "true" }, String(key + 1)));
      });
      return element("fieldset", { tabindex: "-1", "data-question": aspect.name, onfocusin: () => mark(number) },
        element("legend", {}, aspect.question), element("div", { class: "options" }, ...options));
    });
    const nextButton = button(inTraining ? "Check my answers" : "Next", forward, { disabled: true });
    const backButton = element("button", { type: "button", onclick: () => openTask(list, index - 1, stage) }, "Back");
    const lesson = element("div", { "aria-live": "polite" });
    show(element("div", { class: "task" }, player.root,
      element("div", { class: "ask" },
        element("section", { class: "instruction", "aria-label": "Instruction" },
          element("h2", {}, inTraining ? `Practice ${index + 1} of ${list.length}: instruction` : `Task ${index + 1} of ${list.length}: instruction`),
          element("p", {}, task.instruction)),
        ...groups, lock, lesson,
        element("div", { class: "next" }, index > 0 && !inTraining ? backButton : element("span"), nextButton))));
    let marked = 0;
    mark(Math.max(0, state.aspects.findIndex(aspect => !(state.given[task.id] || {})[aspect.name])));
    update();

    function mark(number) {
      marked = number;
      groups.forEach((group, place) => group.classList.toggle("marked", place === number));
    }

    function update() {
      if (closed) return;
      if (locked && player.played() >= 0.9) {
        locked = false;
        groups.forEach(group => group.querySelectorAll("input").forEach(input => { input.disabled = false; }));
      }
      const message = locked ? "Locked until both edits were played once." : isAnswered(task) ? "" : "You can answer now.";
      if (lock.textContent !== message) lock.textContent = message;
      groups.forEach((group, place) =>
        group.classList.toggle("done", Boolean((state.given[task.id] || {})[state.aspects[place].name])));
      nextButton.disabled = !isAnswered(task);
    }

    function give(number, value) {
      if (locked || !state.answers.some(answer => answer.value === value)) return;
      const aspect = state.aspects[number].name;
      const before = (state.given[task.id] || {})[aspect];
      const rev = (before ? before.rev : 0) + 1;
      state.given[task.id] = { ...state.given[task.id], [aspect]: { answer: value, rev } };
      groups[number].querySelectorAll("input").forEach(input => { input.checked = input.value === value; });
      const both = Math.round(player.facts.msBoth);
      backend.answer(task.id, aspect, {
        answer: value, rev, played: Math.max(player.played(), before ? 0.9 : 0), shown_at: shownAt,
        answered_at: new Date().toISOString(), play_ms_left: both, play_ms_right: both,
        play_ms_source: Math.round(player.facts.msSource), seeks: player.facts.seeks,
        dropped_frames: player.facts.dropped, source_visible: true,
      });
      feedbackShown = false;
      lesson.replaceChildren();
      update();
    }

    async function forward() {
      if (!isAnswered(task)) return;
      if (inTraining && !feedbackShown) {
        await backend.settled();
        const right = state.preview ? null : (state.expected || {})[task.id];
        if (right) {
          const label = state.answers.find(answer => answer.value === right).label;
          const agrees = state.aspects.filter(aspect => state.given[task.id][aspect.name].answer === right).length;
          const good = agrees * 2 > state.aspects.length;
          lesson.replaceChildren(element("p", { class: good ? "note" : "note wrong" },
            good ? `That is what we expected: ${label}.` : `We expected “${label}” here. Look again: ${right === "tie" ? "both sides show the same edit." : "the other side is of lower quality."}`));
          feedbackShown = true;
          nextButton.textContent = "Next";
          nextButton.focus();
          return;
        }
      }
      backend.release(task);
      droppedFrames += player.facts.dropped;
      if (index + 1 < list.length) openTask(list, index + 1, stage);
      else runTasks(list, stage);
    }

    current = {
      player,
      answerMarked(place) {
        if (locked || !state.answers[place]) return;
        give(marked, state.answers[place].value);
        const next = groups[marked + 1] ? marked + 1 : marked;
        if (isAnswered(task)) nextButton.focus();
        else { groups[next].focus(); mark(next); }
      },
      next: forward,
      close() { closed = true; player.close(); },
    };
  }

  function feedback() {
    progress(state.tasks.length, state.tasks.length);
    const boxes = state.feedback.map((question, index) => [
      element("label", { class: "block", for: `f${index}` }, question),
      element("textarea", { id: `f${index}`, maxlength: "4000" }),
    ]);
    show(sheet(element("h2", {}, "Last questions"), element("p", {}, "You may leave them empty."), ...boxes.flat(),
      element("div", { class: "row" }, button("Finish", () => move({
        stage: "feedback",
        texts: boxes.map(([, box]) => box.value),
        device: { screen: `${screen.width}x${screen.height}@${devicePixelRatio}`, browser: navigator.userAgent.slice(0, 400),
          dropped_frames: droppedFrames },
      })))));
  }

  function done() {
    progress(0, 0);
    show(sheet(element("h2", {}, "Thank you!"),
      state.preview ? element("p", {}, "This was the preview. Nothing was stored.")
        : element("p", {}, "All your answers are saved. You can close this page."),
      state.code ? element("div", {}, element("p", {}, "Your completion code:"), element("p", {}, element("span", { class: "code" }, state.code))) : "",
      backend.finished ? backend.finished() : ""));
  }

  function refused() {
    progress(0, 0);
    show(sheet(element("h2", {}, "Thank you for reading"), element("p", {}, "You do not take part, and nothing about you was stored."),
      state.code ? element("p", {}, "Code: ", element("span", { class: "code" }, state.code)) : ""));
  }

  function screenedOut() {
    progress(0, 0);
    show(sheet(element("h2", {}, "Thank you for your time"),
      element("p", {}, "The questions about the task were not answered as this study needs, so it ends here. You did nothing wrong."),
      state.code ? element("p", {}, "Your code: ", element("span", { class: "code" }, state.code)) : ""));
  }

  function typing(target) { return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement; }

  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === "?") { event.preventDefault(); if (help.open) help.close(); else help.showModal(); return; }
    if (help.open || !current) return;
    const onButton = event.target instanceof HTMLButtonElement, onRadio = event.target.type === "radio";
    const actions = {
      " ": () => current.player.toggle(),
      ",": () => current.player.step(-1),
      ".": () => current.player.step(1),
      "[": () => current.player.slower(),
      "]": () => current.player.faster(),
      s: () => { if (!event.repeat) current.player.showSource(true); },
      Enter: () => current.next(),
    };
    for (let place = 0; place < state.answers.length; place++) actions[String(place + 1)] = () => current.answerMarked(place);
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!actions[key] || ((key === " " || key === "Enter") && onButton) || (key === " " && onRadio)) return;
    event.preventDefault();
    actions[key]();
  });
  document.addEventListener("keyup", event => {
    if (event.key.toLowerCase() === "s" && current) current.player.showSource(false);
  });
  document.getElementById("help-button").addEventListener("click", () => help.showModal());
  if (backend.toolbar) document.querySelector("header").append(...backend.toolbar());
  document.addEventListener("visibilitychange", () => { if (document.hidden && state) backend.event("hidden", ""); });

  backend.load().then(enter).catch(error => show(sheet(element("h2", {}, "This page cannot be opened"), element("p", {}, error.message))));
})();
