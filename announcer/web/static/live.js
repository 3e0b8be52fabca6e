// What changes by itself. Without it every page still works, one reload at a time.
"use strict";

const area = document.querySelector("[data-stream]");
const shown = new Map(); // by id: the HTML that stands there
const PATIENCE = 15; // seconds without a word: a stream lasts less than nine
let heard = Date.now();

function show(parts) {
  const place = area.querySelector("[data-parts]");
  const focused = document.activeElement && document.activeElement.id;
  const opened = [...place.querySelectorAll("details[open]")].map((one) => one.id);
  const before = news();
  const there = new Map([...place.children].map((one) => [one.id, one]));
  let last = null;
  for (const [id, html] of Object.entries(parts)) {
    let one = there.get(id);
    if (!one || shown.get(id) !== html) {
      const box = document.createElement("template");
      box.innerHTML = html; // ours, escaped by the server
      const fresh = box.content.firstElementChild;
      if (!fresh) continue;
      shown.set(id, html);
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
  for (const [id, gone] of there) { shown.delete(id); gone.remove(); }
  for (const id of opened) {
    const same = document.getElementById(id);
    if (same) same.open = true;
  }
  if (focused && document.activeElement === document.body) {
    const same = document.getElementById(focused);
    if (same) same.focus({ preventScroll: true });
  }
  count();
  localise();
  tell(before);
}

// For who hears the page: what is replaced is not always read out, what is written here is.
function news() {
  return [...document.querySelectorAll("[data-news]")].map((one) => one.textContent).join(". ");
}

function tell(before) {
  const place = document.getElementById("news"), now = news();
  if (place && now !== before) place.textContent = now;
}

function watch() {
  const source = new EventSource(area.dataset.stream);
  source.onmessage = (event) => { hear(); show(JSON.parse(event.data)); };
  source.onopen = hear;
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return; // the browser asks again by itself
    cut(true);
    setTimeout(again, 5000);
  };
}

// Closed for good: the database is away, or the login has ended, and then the page says so.
async function again() {
  try {
    const answer = await fetch(location.href, { method: "HEAD" });
    if (answer.status === 401) return location.reload();
  } catch { /* the service is away: ask again all the same */ }
  watch();
}

function hear() { heard = Date.now(); cut(false); }

function cut(off) {
  const banner = area.querySelector(".cut");
  if (banner.hidden === off) banner.hidden = !off;
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
    const today = at.toDateString() === new Date().toDateString();
    one.textContent = today
      ? at.toLocaleTimeString([], { timeStyle: "short" })
      : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    one.removeAttribute("data-local");
  }
}

// A button that can not be taken back asks once more, or the server would; and two clicks are one.
document.addEventListener("submit", (event) => {
  const form = event.target, question = form.dataset.ask;
  if (form.method !== "post") return;
  if (form.dataset.sent || (question && !window.confirm(question))) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  if (!question) return;
  const sure = document.createElement("input");
  Object.assign(sure, { type: "hidden", name: "sure", value: "yes" });
  form.append(sure);
});

// Back from another page, the browser may show this one as it was left.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// What was done is said once, and not again after a reload.
if (location.search.includes("said=")) history.replaceState(null, "", location.pathname);

if (area) watch();
count();
localise();
setInterval(() => {
  count();
  if (area && Date.now() - heard > PATIENCE * 1000) cut(true);
}, 1000);
