// Shows each post for some seconds, one after another, as it goes up.
"use strict";

const seconds = Number(document.body.dataset.seconds);
const toasts = document.getElementById("toasts");
const seen = new Set();
const waiting = [];
let showing = false;

function next() {
  const html = waiting.shift();
  showing = html !== undefined;
  if (!showing) return;
  const box = document.createElement("template");
  box.innerHTML = html; // ours, escaped by the server
  const toast = box.content.firstElementChild;
  toasts.replaceChildren(toast);
  setTimeout(() => toast.classList.add("in"), 30);
  setTimeout(() => toast.classList.remove("in"), seconds * 1000 - 400);
  setTimeout(() => { toast.remove(); next(); }, seconds * 1000);
}

function watch() {
  const source = new EventSource(document.body.dataset.events);
  source.onmessage = (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      if (seen.has(id)) continue;
      seen.add(id);
      waiting.push(html);
    }
    if (!showing) next();
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, 5000);
  };
}

watch();
