// Changes of the cart in place. Without this file every form works as well, by POST and redirect.

const PATIENCE = 20_000; // milliseconds until a line counts as dead
const STOPPED = 5_000; // milliseconds after which a page that is still here was not left after all
const notices = document.getElementById("notices");
const main = document.getElementById("content");
const others = new BroadcastChannel("cart"); // the shop's other tabs
const busy = new Set(); // forms under way, by their id: the page may be renewed meanwhile
const pressed = []; // ids of step buttons that were pressed while their form was under way
let last = Promise.resolve(); // one change after the other, so that the last answer shows the last state
let stale = false;

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  const name = form.id || form;
  if (busy.has(name)) {
    event.preventDefault(); // a second click, while the first is under way
    if (event.submitter?.matches(".step")) pressed.push(event.submitter.id);
    return;
  }
  busy.add(name);
  if (!("inPlace" in form.dataset)) {
    setTimeout(() => busy.delete(name), STOPPED);
    return;
  }
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  last = last.then(() => change(form, fields)).finally(() => {
    busy.delete(name);
    document.getElementById(pressed.shift())?.click();
  });
});

// The second click of a double click, and a key held down, are no wish of their own.
document.addEventListener("click", (event) => {
  if (event.detail > 1 && event.target.closest("[action='/cart/add'] button")) event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.repeat && event.key === "Enter" && event.target.form?.matches("[data-in-place]")) event.preventDefault();
});

async function change(form, fields) {
  const part = form.closest("li") ?? form;
  part.setAttribute("aria-busy", "true");
  try {
    const answer = await ask(form.action, { method: "POST", body: fields });
    if (answer.ok) renew(form);
    show(await pageOf(answer));
    if (answer.ok) others.postMessage("changed");
  } catch {
    say([notice(notices.dataset.unreachable)]); // sent again, the form has its old name and counts once
  }
  part.removeAttribute("aria-busy");
}

function ask(address, options = {}) {
  return fetch(address, { ...options, headers: { Accept: "text/html" }, signal: AbortSignal.timeout(PATIENCE) });
}

async function pageOf(answer) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!page.getElementById("content")) throw new Error("This is no page of the shop.");
  return page;
}

// Take over what the server's page says: the badge, its messages, and on the cart page the cart.
function show(page) {
  const badge = page.querySelector(".badge");
  if (badge) document.querySelector(".badge")?.replaceWith(badge);
  const theirs = page.getElementById("content");
  const messages = [...theirs.querySelectorAll(".message")];
  for (const message of messages) message.remove();
  if (messages.length) say(messages);
  else if (theirs.dataset.page === "error") say([notice(theirs.querySelector("h1").textContent)]);
  if (main.dataset.page === "cart" && theirs.dataset.page === "cart") replace(theirs);
}

// The focus stays where it is, and so does what somebody is typing.
function replace(theirs) {
  const active = document.activeElement;
  const had = main.contains(active);
  const typed = [...main.querySelectorAll("input[id]")].filter((input) => input.value !== input.defaultValue);
  main.replaceChildren(...theirs.childNodes);
  for (const before of typed) {
    const now = document.getElementById(before.id);
    if (now) now.value = before.value;
  }
  if (had) (document.getElementById(active.id || "-") ?? main.querySelector("h1")).focus();
}

function say(messages) {
  for (const message of messages) message.removeAttribute("role"); // they stand in a live region already
  const parts = [...messages];
  const isGood = !messages.some((message) => message.matches(".problem"));
  if (isGood && main.dataset.page !== "cart") {
    const cart = document.createElement("a");
    cart.href = "/cart";
    cart.textContent = notices.dataset.cart;
    parts.push(cart);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "close";
  close.ariaLabel = notices.dataset.close;
  close.textContent = "×";
  close.addEventListener("click", () => notices.replaceChildren());
  notices.replaceChildren(...parts, close);
}

function notice(text) {
  const message = document.createElement("p");
  message.className = "message problem";
  message.textContent = text;
  return message;
}

// A form that was carried out is a new one: with a name of its own, and nothing typed into it.
function renew(form) {
  for (const input of form.elements) {
    if (input.name === "once") input.value = Array.from(crypto.getRandomValues(new Uint32Array(3)), String).join("-");
    else input.defaultValue = input.value;
  }
}

async function refresh() {
  stale = false;
  try {
    show(await pageOf(await ask("/cart")));
  } catch {
    stale = true; // tried again when somebody next looks at this page
  }
}

function refreshSoon() {
  stale = true;
  if (!document.hidden) last = last.then(refresh);
}

others.addEventListener("message", refreshSoon);
document.addEventListener("visibilitychange", () => {
  if (stale && !document.hidden) last = last.then(refresh);
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return; // a page out of the back-forward cache is as old as it was left
  busy.clear();
  for (const form of document.forms) renew(form);
  refreshSoon();
});
