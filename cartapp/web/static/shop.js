// Changes of the cart in place. Without this file every form works as well, by POST and redirect.

const PATIENCE = 20_000; // milliseconds until a line counts as dead
const notices = document.getElementById("notices");
const main = document.getElementById("content");
const others = new BroadcastChannel("cart"); // the shop's other tabs
const waiting = []; // ids of step buttons that were pressed while something was under way
let last = Promise.resolve(); // one change after the other, so that the last answer shows the last state
let stale = false;

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if ("busy" in form.dataset) {
    event.preventDefault(); // a second click, while the first is under way
    if (event.submitter?.matches(".step")) waiting.push(event.submitter.id);
    return;
  }
  form.dataset.busy = "";
  if (!("inPlace" in form.dataset)) {
    setTimeout(() => delete form.dataset.busy, 5000); // should the page still be here, it was stopped
    return;
  }
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  last = last.then(() => change(form, fields));
});

// The second click of a double click, and a key held down, are no wish of their own.
document.addEventListener("click", (event) => {
  if (event.detail > 1 && event.target.closest("[action='/cart/add'] button")) event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.repeat && event.key === "Enter" && event.target.closest("button")?.form?.matches("[data-in-place]")) event.preventDefault();
});

async function change(form, fields) {
  const part = form.closest("li") ?? form;
  part.setAttribute("aria-busy", "true");
  try {
    const answer = await ask(form.action, { method: "POST", body: fields });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    show(page);
    if (answer.ok) {
      renew(form);
      others.postMessage("changed");
    }
  } catch {
    say([notice(notices.dataset.unreachable, "problem")]); // the form keeps its name: sent again, it counts once
  }
  part.removeAttribute("aria-busy");
  delete form.dataset.busy;
  document.getElementById(waiting.shift())?.click();
}

function ask(address, options = {}) {
  const headers = { Accept: "text/html" };
  return fetch(address, { ...options, headers, signal: AbortSignal.timeout(PATIENCE) });
}

// Take over what the server's page says: the badge, its messages, and on the cart page the cart.
function show(page) {
  const badge = page.querySelector(".badge");
  if (badge) document.querySelector(".badge")?.replaceWith(badge);
  const messages = [...page.querySelectorAll("main > .message, main .empty > .message")];
  if (!badge && !messages.length) throw new Error("This is no page of the shop.");
  for (const message of messages) message.remove();
  if (messages.length) say(messages);
  const theirs = page.getElementById("content");
  if (main.dataset.page === "cart" && theirs?.dataset.page === "cart") replace(theirs);
}

function replace(theirs) {
  const active = document.activeElement;
  const had = main.contains(active);
  main.replaceChildren(...theirs.childNodes);
  if (had) (document.getElementById(active.id || "-") ?? main.querySelector("h1")).focus();
}

function say(messages) {
  const close = document.createElement("button");
  close.type = "button";
  close.className = "close";
  close.ariaLabel = notices.dataset.close;
  close.textContent = "×";
  close.addEventListener("click", () => notices.replaceChildren());
  for (const message of messages) message.removeAttribute("role"); // they stand in a live region already
  notices.replaceChildren(...messages, close);
}

function notice(text, kind) {
  const message = document.createElement("p");
  message.className = `message ${kind}`;
  message.textContent = text;
  return message;
}

// A form that was carried out is a new one, with a name of its own.
function renew(form) {
  const once = form.elements.namedItem("once");
  if (once) once.value = Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("");
}

async function refresh() {
  stale = false;
  try {
    const answer = await ask("/cart");
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    stale = true; // tried again when the page is next looked at
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
  if (!event.persisted) return;
  for (const form of document.forms) {
    delete form.dataset.busy;
    renew(form);
  }
  refreshSoon();
});
