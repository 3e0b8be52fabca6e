// Shows what is pushed, and opens the stream. Every push has to show something (userVisibleOnly),
// or browsers take the permission away; so there are words even for one that can not be read:
// `self.news`, which the server writes at the end of this file.
"use strict";

const LONGEST = 1000;

function text(value) {
  return typeof value === "string" ? value.slice(0, LONGEST) : "";
}

function address(value) {
  try {
    const { protocol, href } = new URL(value);
    return protocol === "https:" || protocol === "http:" ? href : undefined;
  } catch {
    return undefined;
  }
}

function understood(data) {
  let said = null;
  try {
    said = data?.json();
  } catch {
    // not from us, or not whole
  }
  if (typeof said !== "object" || said === null) said = {};
  return {
    title: text(said.title) || self.news,
    body: text(said.body),
    tag: text(said.tag) || "news",
    url: address(said.url) ?? new URL(self.registration.scope.replace(/\/$/, "")).href,
    icon: address(said.icon),
    image: address(said.image),
    quiet: said.quiet === true,
    at: Number.isFinite(said.at) ? said.at : 0,
  };
}

async function show(data) {
  let said = understood(data);
  const [shown] = await self.registration.getNotifications({ tag: said.tag });
  // This push was overtaken on its way: what is shown is newer, and stays.
  if (shown?.data?.at > said.at) said = { ...shown.data, quiet: true };
  const { title, tag, body, icon, image, quiet, at } = said;
  // The same tag takes the place of what is there, without another sound.
  const options = { tag, body, icon, image, silent: quiet, data: said };
  if (at) options.timestamp = at * 1000;
  await self.registration.showNotification(title, options);
}

// The browser gave us another address: it is told from now on.
async function renew(old) {
  const options = old?.options ?? (await self.registration.pushManager.getSubscription())?.options;
  if (!options) return;
  const subscription = await self.registration.pushManager.subscribe(options);
  const headers = { "Content-Type": "application/json" };
  const place = new URL("subscription", self.registration.scope);
  await fetch(place, { method: "POST", headers, body: JSON.stringify(subscription) });
  if (old) {
    const body = JSON.stringify({ endpoint: old.endpoint });
    await fetch(place, { method: "DELETE", headers, body });
  }
}

self.addEventListener("install", () => self.skipWaiting());
// One after the other: what one of them looks for, another may be about to show.
let turn = Promise.resolve();
self.addEventListener("push", (event) => {
  turn = turn.catch(() => {}).then(() => show(event.data));
  event.waitUntil(turn);
});
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow(event.notification.data?.url ?? self.registration.scope));
});
self.addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(renew(event.oldSubscription));
});
