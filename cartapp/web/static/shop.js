// In-place updates of the cart; `cart.js` and `cards.js` show them. Without scripts, forms redirect.

// Milliseconds:
const REQUEST_TIMEOUT = 20_000;
const SUBMIT_TIMEOUT = 5_000; // until a form may be submitted again
const REST = 150; // without a press before a change is sent
const DOUBLE_CLICK = 250; // between two clicks that count as one
const SETTLING = 700; // in which a click may miss a moved line
const STORED = 1_000; // until a change of the last page is probably stored

const notices = document.getElementById("notices");
const cartPage = document.querySelector(".to-cart").href;
const otherTabs = new BroadcastChannel("cart");
const pending = new Set(); // forms being submitted
const wishes = new Map(); // product ID -> {url, quantity, isSent}, until confirmed
const presses = new Map(); // form -> {fresh, sent}: of "Add to cart"; `sent` in a request
const scheduled = new Map(); // product ID or form -> function that sends its change
let last = Promise.resolve(); // of the queue
let lastClick = {}; // line, button, count, x, y, timeStamp
let lastUpdate = -Infinity;
let stale = false;

addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (form.method !== "post") return;
  const { inPlace, product } = form.dataset;
  const isInPlace = inPlace !== undefined;
  if (isInPlace || pending.has(form)) event.preventDefault();
  if (product) return changeQuantity(product, submitter);
  if (isInPlace) return isAddition(form) ? addToCart(form) : submitOnce(form);
  pending.add(form);
  setTimeout(() => pending.delete(form), SUBMIT_TIMEOUT);
});

// A double click is meant for the line of its first click. "Add to cart" counts it once, three fast clicks as three.
addEventListener("click", (event) => {
  const { target, clientX: x, clientY: y, timeStamp } = event;
  if (!event.detail) return; // a key
  const [line, button] = [target.closest(".line")?.id, target.closest("button")];
  const isSamePlace = Math.hypot(x - lastClick.x, y - lastClick.y) < 8;
  const isSoon = timeStamp - Math.max(lastClick.timeStamp, lastUpdate) < SETTLING;
  if (isSamePlace && isSoon && lastClick.line && line !== lastClick.line) {
    lastClick.timeStamp = timeStamp;
    event.stopImmediatePropagation();
    return event.preventDefault();
  }
  const isFast = button === lastClick.button && timeStamp - lastClick.timeStamp < DOUBLE_CLICK;
  const count = isFast ? lastClick.count + 1 : 1;
  lastClick = { line, button, count, x, y, timeStamp };
  if (!isAddition(button?.form)) return;
  if (count === 2) event.preventDefault();
  if (count === 3) addToCart(button.form);
}, true);

addEventListener("keydown", (event) => {
  if (event.repeat && event.key === "Enter" && event.target.form?.matches("[data-in-place]")) event.preventDefault();
  if (event.key === "Escape") showNotices([]);
});

// Quantities: shown at once, sent when the presses rest.

function changeQuantity(product, submitter) {
  const field = getField(product);
  const { step, quantity } = submitter?.dataset ?? {};
  const before = field.value === "" ? Number(field.defaultValue) : field.valueAsNumber;
  field.value = quantity ?? Math.min(Math.max(before + Number(step ?? 0), 0), Number(field.max));
  wish(field);
}

addEventListener("change", ({ target: field }) => {
  if (!field.matches("[data-product]")) return;
  if (field.value === "" && !field.validity.badInput) field.value = field.defaultValue;
  if (field.reportValidity()) wish(field);
});

function wish(field) {
  const { product } = field.dataset;
  wishes.set(product, { url: field.form.action, quantity: field.value, isSent: false });
  markBusy(product);
  schedule(product, () => sendQuantity(product), REST);
}

async function sendQuantity(product) {
  const wished = wishes.get(product);
  if (!wished || wished.isSent) return;
  wished.isSent = true;
  const page = await post(wished.url, { quantity: wished.quantity });
  wished.isSent = false;
  if (page) {
    if (wishes.get(product) === wished) wishes.delete(product); // else pressed again
    update(page);
  }
  markBusy(product);
}

const getField = (product) => document.getElementById(`quantity-${product}`);

function markBusy(product) {
  const line = getField(product)?.closest("li");
  if (line) line.ariaBusy = wishes.has(product);
}

// "Add to cart": presses during a request are sent together after it.

const isAddition = (form) => form?.dataset.card;

function addToCart(form) {
  const state = presses.get(form) ?? { fresh: 0, sent: 0 };
  presses.set(form, state);
  if (!state.sent || pending.has(form)) state.fresh++; // else repeat the request that got no response
  schedule(form, () => sendPresses(form), state.fresh > 1 ? REST : 0);
}

async function sendPresses(form) {
  const state = presses.get(form);
  if (!state?.sent && !state?.fresh) return;
  if (!state.sent) [state.sent, state.fresh] = [state.fresh, 0];
  pending.add(form);
  form.ariaBusy = "true";
  const page = await post(form.action, [...new FormData(form), ["quantity", state.sent]]);
  form.ariaBusy = null;
  pending.delete(form);
  if (!page) return void (lastClick = {});
  state.sent = 0;
  renewKey(form);
  update(page);
}

// "Clear cart" and "Undo".
function submitOnce(form) {
  if (pending.has(form)) return;
  pending.add(form);
  sendAll();
  enqueue(async () => {
    const page = await post(form.action, new FormData(form));
    pending.delete(form);
    if (!page) return;
    wishes.clear();
    form.closest(".message")?.remove();
    update(page);
  });
}

// Requests: one after the other; the rest when the page is left.

function enqueue(send) {
  last = last.then(send).catch(reportError);
}

function schedule(key, send, delay) {
  scheduled.set(key, send); // instead of an earlier one
  setTimeout(() => scheduled.get(key) === send && sendNow(key), delay);
}

function sendNow(key) {
  enqueue(scheduled.get(key));
  scheduled.delete(key);
}

function sendAll() {
  for (const key of scheduled.keys()) sendNow(key);
}

addEventListener("click", ({ target }) => {
  if (target.closest("a, form:not([data-in-place])")) sendAll();
  if (target.closest(".close")) showNotices([]);
});
addEventListener("pagehide", () => {
  for (const { url, quantity, isSent } of wishes.values()) {
    if (!isSent) fetchPage(url, { quantity });
  }
  for (const [form, state] of presses) {
    if (state.sent) renewKey(form); // the present key is used
    if (state.fresh) fetchPage(form.action, [...new FormData(form), ["quantity", state.fresh]]);
  }
  wishes.clear();
  presses.clear();
  scheduled.clear();
});

// Return the response's page; nothing after a failure.
async function post(url, fields) {
  try {
    const response = await fetchPage(url, fields);
    sessionStorage.removeItem("stale");
    const page = await parsePage(response);
    if (response.ok) otherTabs.postMessage("changed");
    if (response.status < 500) return page;
    update(page);
  } catch {
    showProblem(notices.dataset.unreachable);
  }
}

function fetchPage(url, fields) {
  const change = fields && { method: "POST", body: new URLSearchParams(fields), keepalive: true };
  if (change) sessionStorage.setItem("stale", "true"); // for a page loaded before the response
  const headers = { Accept: "text/html", Prefer: "return=representation" }; // no redirect (RFC 7240)
  return fetch(url, { ...change, headers, signal: AbortSignal.timeout(REQUEST_TIMEOUT) });
}

async function parsePage(response) {
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!page.getElementById("content")) throw new Error("The response is not a page of the shop");
  return page;
}

// Show a page's badge, messages and cart.
function update(page) {
  const badge = page.querySelector(".badge");
  if (badge) document.querySelector(".badge")?.replaceWith(badge);
  const content = page.getElementById("content");
  const messages = [...content.querySelectorAll(".message")];
  if (messages.length) showNotices(messages);
  else if (content.dataset.page === "error") showProblem(content.querySelector("h1").textContent);
  const detail = { page, wishes };
  document.dispatchEvent(new CustomEvent("cart", { detail }));
  lastUpdate = performance.now();
  if (detail.isOutdated) refresh();
}

function showProblem(text) {
  showNotices([Object.assign(document.createElement("p"), { className: "message problem", textContent: text })]);
}

function showNotices(messages) {
  for (const message of messages) message.removeAttribute("role"); // `notices` is live
  notices.firstElementChild.replaceChildren(...messages);
}

function renewKey(form) {
  form.elements.idempotency_key.value = crypto.getRandomValues(new Uint32Array(3)).join("-");
}

// Refresh at once, or when the tab becomes visible.
function refresh() {
  stale = document.hidden;
  if (!stale) enqueue(() => fetchPage(cartPage).then(parsePage).then(update, () => (stale = true)));
}

// After a log-in or log-out other tabs refresh.
const { user = "guest" } = document.body.dataset;
if ((sessionStorage.getItem("user") ?? user) !== user) otherTabs.postMessage("changed");
sessionStorage.setItem("user", user);

otherTabs.addEventListener("message", refresh);
addEventListener("visibilitychange", () => stale && refresh());
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    pending.clear(); // from the back-forward cache
    for (const form of document.forms) if (isAddition(form)) renewKey(form);
  }
  if (event.persisted || sessionStorage.getItem("stale")) for (const delay of [0, STORED]) setTimeout(refresh, delay);
  sessionStorage.removeItem("stale");
});
