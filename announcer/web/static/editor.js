// The preview as you type. Without it, the button does the same, one page at a time.
"use strict";

const form = document.getElementById("edit");
const source = document.getElementById("source");
const sample = document.getElementById("sample");
const mirror = form.querySelector(".mirror");
const pad = form.querySelector(".pad");
const see = document.querySelector(".see");
const saved = source.value;
let marks = new Map();
let timer = 0;
let asked = null;
let leaving = false;

// Line numbers, and what is wrong beside its line: a copy of the words lies under them, with the
// same breaks. Everything of it is text, never markup.
function draw() {
  const lines = source.value.split("\n").map((words, index) => {
    const line = document.createElement("div");
    line.className = "line";
    line.dataset.n = index + 1;
    line.append(words || "\u200b");
    const wrong = marks.get(index + 1);
    if (wrong !== undefined) {
      line.classList.add("bad");
      const note = document.createElement("span");
      note.className = "note";
      note.textContent = wrong;
      line.append(note);
    }
    return line;
  });
  mirror.replaceChildren(...lines);
  for (const note of mirror.querySelectorAll(".note")) {
    const room = note.parentElement.clientWidth - note.offsetLeft;
    if (room < 90) note.remove(); // the list below says it, too
    else note.style.maxWidth = `${room}px`;
  }
}

function soon(wait) {
  clearTimeout(timer);
  timer = setTimeout(look, wait);
}

async function look() {
  if (asked) asked.abort();
  asked = new AbortController();
  const words = new URLSearchParams(new FormData(form));
  words.set("do", "preview");
  see.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.getAttribute("action"), {
      method: "POST",
      body: words,
      headers: { Accept: "application/json" },
      redirect: "error",
      signal: asked.signal,
    });
    if (answer.status === 503) {
      soon(1000);
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    show(await answer.json());
    see.removeAttribute("data-cut");
  } catch (problem) {
    if (problem.name === "AbortError") return;
    see.setAttribute("data-cut", "");
  }
  see.removeAttribute("aria-busy");
}

function show(told) {
  for (const part of ["faults", "trials", "known"]) {
    const place = document.getElementById(part);
    if (place.dataset.html === told[part]) continue; // or it would be read aloud again
    place.dataset.html = told[part];
    place.innerHTML = told[part]; // ours, escaped by the server
  }
  if (document.querySelector(".faults")) source.setAttribute("aria-invalid", "true");
  else source.removeAttribute("aria-invalid");
  mark(told.marks);
  dress();
}

function mark(pairs) {
  marks = new Map(pairs);
  draw();
}

// What only a script can do: a line number that leads there, a word that writes itself.
function dress() {
  for (const one of document.querySelectorAll("span[data-line], code[data-word]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "inline";
    button.textContent = one.textContent;
    Object.assign(button.dataset, one.dataset);
    one.replaceWith(button);
  }
}

document.addEventListener("click", (event) => {
  const { line, word } = event.target.dataset;
  if (line) {
    const lines = source.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    source.focus();
    source.setSelectionRange(start, start + (lines[line - 1] || "").length);
  } else if (word) {
    source.focus();
    source.setRangeText(`{{ ${word} }}`, source.selectionStart, source.selectionEnd, "end");
    changed();
  }
});

function changed() {
  draw();
  soon(300);
}

source.addEventListener("input", changed);
sample.addEventListener("change", () => soon(0));
form.addEventListener("submit", (event) => {
  if (event.submitter && event.submitter.value === "preview") {
    event.preventDefault();
    soon(0);
  } else leaving = true;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "s" || !(event.ctrlKey || event.metaKey) || event.altKey) return;
  event.preventDefault();
  const save = form.querySelector("button[value=save]");
  if (save) form.requestSubmit(save);
});
window.addEventListener("beforeunload", (event) => {
  const unsaved = source.value !== saved || "unsaved" in form.dataset;
  if (!leaving && unsaved) event.preventDefault();
});
new ResizeObserver(draw).observe(pad);

form.querySelector("button[value=preview]").hidden = true; // it shows by itself
pad.classList.add("numbered");
mark(JSON.parse(pad.dataset.marks));
dress();
if ("again" in form.dataset) soon(1500); // by then the servers may have told their limits
