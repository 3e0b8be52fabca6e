// The page for viewers: one button, and what is the case is said below it.
"use strict";

const page = document.querySelector("main");
const tell = document.getElementById("tell");
const hush = document.getElementById("hush");
const place = new URL(page.dataset.place, location.href);

class Trouble extends Error {
  constructor(state) {
    super(state);
    this.state = state;
  }
}

function show(state, { on = false, offered = true, busy = false } = {}) {
  for (const line of document.querySelectorAll("[data-when]")) {
    line.hidden = line.dataset.when !== state;
  }
  const before = document.activeElement;
  tell.hidden = on || !offered;
  hush.hidden = !on || !offered;
  // Not `disabled`, which would take the focus away.
  for (const button of [tell, hush]) button.setAttribute("aria-disabled", busy);
  // Who pressed a button by keyboard goes on from the one that took its place.
  if (before === tell && on) hush.focus();
  if (before === hush && !on) tell.focus();
}

function obstacle() {
  if (!window.isSecureContext) return "insecure";
  const able = "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;
  if (!able) return isApple() ? "home" : "unable";
  return Notification.permission === "denied" ? "blocked" : "";
}

// An iPad says that it is a Mac, and has a touch screen, which no Mac has.
function isApple() {
  const touches = navigator.maxTouchPoints > 1 && navigator.userAgent.includes("Macintosh");
  return touches || /iPhone|iPad|iPod/.test(navigator.userAgent);
}

async function registered() {
  const found = await navigator.serviceWorker.getRegistration(place);
  return found?.scope === place.href ? found : undefined;
}

async function worker() {
  const made = await navigator.serviceWorker.register(page.dataset.worker, { scope: place.href });
  const young = made.installing ?? made.waiting;
  if (!made.active && young) {
    await new Promise((ready, failed) => {
      young.addEventListener("statechange", () => {
        if (young.state === "activated") ready();
        if (young.state === "redundant") failed(new Trouble("failed"));
      });
    });
  }
  return made;
}

// A subscription is for one key; with a new key of the streamer's it is of no use any more.
function isOurs(subscription) {
  const key = subscription?.options?.applicationServerKey;
  return Boolean(subscription) && (!key || coded(key) === page.dataset.key);
}

function coded(bytes) {
  const text = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function send(method, what) {
  const answer = await fetch(new URL("subscription", place), {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(what),
  });
  if (answer.status === 503) throw new Trouble("full");
  if (answer.status === 429) throw new Trouble("often");
  if (!answer.ok) throw new Trouble("failed");
}

async function subscribe() {
  show("asking", { busy: true });
  const permission = await Notification.requestPermission();
  if (permission === "denied") throw new Trouble("blocked");
  if (permission !== "granted") throw new Trouble("off");
  show("busy", { busy: true });
  const { pushManager } = await worker();
  const old = await pushManager.getSubscription();
  if (old && !isOurs(old)) await old.unsubscribe();
  const subscription = await pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: page.dataset.key,
  });
  try {
    await send("POST", subscription);
  } catch (problem) {
    await subscription.unsubscribe(); // or the page would say later that all is well
    throw problem;
  }
  show("on", { on: true });
}

async function unsubscribe() {
  show("busy", { on: true, busy: true });
  const subscription = await (await registered())?.pushManager.getSubscription();
  if (subscription) {
    const { endpoint } = subscription;
    await subscription.unsubscribe();
    // Nothing can come any more. If this does not arrive, the push service tells them.
    await send("DELETE", { endpoint }).catch(() => {});
  }
  show("off");
}

async function look() {
  const problem = obstacle();
  if (problem) return show(problem, { offered: false });
  const subscription = await (await registered())?.pushManager.getSubscription();
  if (Notification.permission !== "granted" || !isOurs(subscription)) return show("off");
  show("on", { on: true });
  await send("POST", subscription).catch(() => {}); // they may have lost it: harmless to repeat
}

function attempt(step, on) {
  return async () => {
    if (tell.getAttribute("aria-disabled") === "true") return;
    try {
      await step();
    } catch (problem) {
      const state = problem instanceof Trouble ? problem.state : "failed";
      show(state, { on, offered: state !== "blocked" });
    }
  };
}

tell.addEventListener("click", attempt(subscribe, false));
hush.addEventListener("click", attempt(unsubscribe, true));
attempt(look, false)();
