// What changes by itself. Without it every page still works, one reload at a time.
"use strict";

const area = document.querySelector("[data-stream]");

function show(parts) {
  const place = area.querySelector("[data-parts]");
  const before = document.activeElement && document.activeElement.id;
  const there = new Map([...place.children].map((one) => [one.id, one]));
  let last = null;
  for (const [id, html] of Object.entries(parts)) {
    let one = there.get(id);
    if (!one || one.dataset.html !== html) {
      const box = document.createElement("template");
      box.innerHTML = html; // ours, escaped by the server
      const fresh = box.content.firstElementChild;
      if (!fresh) continue;
      fresh.dataset.html = html;
      if (one) one.replaceWith(fresh);
      one = fresh;
    }
    there.delete(id);
    if (last ? last.nextElementSibling !== one : place.firstElementChild !== one) {
      if (last) last.after(one);
      else place.prepend(one);
    }
    last = one;
  }
  for (const gone of there.values()) gone.remove();
  if (before && document.activeElement === document.body) {
    const same = document.getElementById(before);
    if (same) same.focus();
  }
  count();
  localise();
}

function watch() {
  const source = new EventSource(area.dataset.stream);
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onopen = () => area.removeAttribute("data-cut");
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return; // the browser asks again by itself
    area.setAttribute("data-cut", "");
    setTimeout(watch, 5000);
  };
}

// <time data-until="2026-..."> counts down, data-since counts up.
function count() {
  for (const one of document.querySelectorAll("time[data-until], time[data-since]")) {
    const until = one.dataset.until;
    const from = Date.parse(until || one.dataset.since);
    const seconds = Math.max(0, Math.round((until ? from - Date.now() : Date.now() - from) / 1000));
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    const two = (n) => String(n).padStart(2, "0");
    one.textContent = hours
      ? `${hours}:${two(minutes)}:${two(seconds % 60)}`
      : `${minutes}:${two(seconds % 60)}`;
  }
}

// Times are written in UTC by the server; here they become those of whoever reads.
function localise() {
  for (const one of document.querySelectorAll("time[data-local]")) {
    const at = new Date(one.dateTime);
    one.title = one.textContent;
    one.textContent = at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    one.removeAttribute("data-local");
  }
}

// A button that can not be taken back asks once more.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.ask;
  if (question && !window.confirm(question)) event.preventDefault();
});

if (area) watch();
count();
localise();
setInterval(() => { count(); localise(); }, 1000);
