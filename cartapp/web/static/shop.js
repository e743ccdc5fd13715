// In-place updates of the cart; `cart.js` and `cards.js` show them. Without scripts, forms redirect.

// Milliseconds:
const REQUEST_TIMEOUT = 20_000;
const SUBMIT_TIMEOUT = 5_000; // until a form may be submitted again, and a link is followed without responses
const REST = 150; // without a press before a change is sent
const DOUBLE_CLICK = 250; // between two clicks that count as one
const SETTLING = 700; // in which a click may miss a moved line
const STORED = 1_000; // until a change of the last page is probably stored

const notices = document.getElementById("notices");
const noticeList = notices.firstElementChild;
const cartLink = document.querySelector(".to-cart");
const otherTabs = new BroadcastChannel("cart");
const submitted = new Set(); // forms that load a page
const waiting = new Map(); // product ID or form -> its change {url, fields, count}, not sent yet
const failed = new Map(); // form -> its change that got no response
let current = null; // key in a request
let last = Promise.resolve(); // of the queue
let queued = 0;
let lastClick = {}; // line, button, count, x, y, timeStamp
let lastUpdate = -Infinity;
let lastFocus = cartLink; // outside the notice
let isLeaving = false; // by a link, after the queue
let stale = false;

addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (form.method !== "post") return;
  const { inPlace, product, card } = form.dataset;
  const isInPlace = inPlace !== undefined;
  if (isInPlace || submitted.has(form)) event.preventDefault();
  if (product) return changeQuantity(product, submitter);
  if (isInPlace) return card ? addToCart(form) : submitOnce(form);
  submitted.add(form);
  setTimeout(() => submitted.delete(form), SUBMIT_TIMEOUT);
});

// A double click is meant for the line of its first click. "Add to cart" counts it once, three fast clicks as three.
addEventListener("click", (event) => {
  const { target, detail, clientX: x, clientY: y, timeStamp } = event;
  if (!detail) return; // a key
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
  if (!button?.form?.dataset.card) return;
  if (count === 2) event.preventDefault();
  if (count === 3) addToCart(button.form);
}, true);

addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.repeat) event.preventDefault();
  if (event.key === "Escape") showNotices([]);
});

// Quantities: shown at once, sent when the presses rest.
function changeQuantity(product, submitter) {
  const field = getField(product);
  const { step, quantity } = submitter?.dataset ?? {};
  const before = field.value === "" ? Number(field.defaultValue) : field.valueAsNumber;
  field.value = quantity ?? Math.max(before + Number(step ?? 0), 0);
  sendQuantity(field);
}

addEventListener("change", ({ target: field }) => {
  if (!field.matches("[data-product]")) return;
  if (field.value === "" && !field.validity.badInput) field.value = field.defaultValue;
  if (field.reportValidity()) sendQuantity(field);
});

function sendQuantity(field) {
  schedule(field.dataset.product, { url: field.form.action, fields: { quantity: field.value } }, REST);
}

const getField = (product) => document.getElementById(`quantity-${product}`);

// "Add to cart": presses during a request are sent together after it. After a failure, the same request is repeated.
function addToCart(form) {
  const count = (waiting.get(form)?.count ?? 0) + 1;
  form.elements.idempotency_key.value = crypto.getRandomValues(new Uint32Array(3)).join("-");
  const addition = { url: form.action, fields: [...new FormData(form), ["quantity", count]], count };
  schedule(form, failed.get(form) ?? addition, count > 1 ? REST : 0);
}

// "Clear cart" and "Undo".
function submitOnce(form) {
  if (isPending(form)) return;
  sendAll();
  schedule(form, { url: form.action, fields: new FormData(form) }, 0);
}

// Requests: one after the other; the rest when the page is left.

const isPending = (key) => key === current || waiting.has(key);

function schedule(key, change, delay) {
  waiting.set(key, change); // instead of an earlier one
  markBusy(key);
  setTimeout(() => waiting.get(key) === change && enqueue(() => send(key)), delay);
}

function markBusy(key) {
  const element = key.action ? key : getField(key)?.closest("li");
  if (element) element.ariaBusy = isPending(key);
}

function enqueue(task) {
  queued++;
  last = last.then(task).catch(reportError).then(() => queued--);
}

function sendAll() {
  for (const key of waiting.keys()) enqueue(() => send(key));
}

async function send(key) {
  const change = waiting.get(key);
  if (!change) return;
  waiting.delete(key);
  failed.delete(key);
  current = key;
  const page = await fetchPage(change).then(parsePage).catch(() => null);
  current = null;
  if (!page || page.kind === "error") showFailure(key, change);
  else otherTabs.postMessage("changed");
  if (page) delete sessionStorage.stale;
  if (page) update(page);
  else showProblem(notices.dataset.unconfirmed);
  markBusy(key);
}

function showFailure(key, change) {
  lastClick = {}; // the next one is no double click
  const field = getField(key);
  if (!field) failed.set(key, change);
  else if (field.value === change.fields.quantity) field.value = field.defaultValue; // else pressed again
}

addEventListener("click", async (event) => {
  const { target, ctrlKey, metaKey, shiftKey } = event;
  if (target.closest(".close")) showNotices([]);
  const leaves = target.closest("a, form:not([data-in-place])");
  if (leaves) sendAll();
  if (!queued || !leaves?.href || ctrlKey || metaKey || shiftKey) return;
  // The next page shows what is stored, and uses the session that the first change starts.
  event.preventDefault();
  isLeaving = true;
  await Promise.race([last, new Promise((resolve) => setTimeout(resolve, SUBMIT_TIMEOUT))]);
  location.assign(leaves.href);
});

addEventListener("pagehide", () => {
  if (isLeaving) sessionStorage.notices = noticeList.innerHTML;
  // Without a page as response, the message stays in the session.
  for (const change of waiting.values()) fetchPage(change, { redirect: "manual" });
  waiting.clear();
});

const PAGE = { headers: { Accept: "text/html", Prefer: "return=representation" } }; // no redirect (RFC 7240)

function fetchPage({ url, fields }, options = PAGE) {
  const change = fields && { method: "POST", body: new URLSearchParams(fields), keepalive: true };
  if (change) sessionStorage.stale = true; // for a page loaded before the response
  return fetch(url, { ...change, ...options, signal: AbortSignal.timeout(REQUEST_TIMEOUT) });
}

async function parsePage(response) {
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  page.kind = page.getElementById("content").dataset.page; // throws if it is no page of the shop
  return page;
}

// Show a page's badge, messages and cart.
function update(page) {
  const badge = page.querySelector(".badge");
  if (badge) document.querySelector(".badge")?.replaceWith(badge);
  const messages = [...page.querySelectorAll("#content .message")];
  if (messages.length) showNotices(messages);
  else if (page.kind === "error") showProblem(page.querySelector("h1").textContent);
  if (page.kind !== "cart") return;
  const detail = { page, isPending };
  document.dispatchEvent(new CustomEvent("cart", { detail }));
  lastUpdate = performance.now();
  if (detail.isOutdated) refresh();
}

function showProblem(text) {
  showNotices([Object.assign(document.createElement("p"), { className: "message problem", textContent: text })]);
}

// A problem leaves "Undo" there.
function showNotices(messages) {
  const hadFocus = notices.contains(document.activeElement);
  const isProblem = messages.some((message) => message.matches(".problem"));
  for (const old of [...noticeList.children]) if (!isProblem || !old.querySelector("form")) old.remove();
  for (const message of messages) message.removeAttribute("role"); // `notices` is live
  noticeList.append(...messages);
  if (hadFocus && !document.activeElement.closest(".message")) lastFocus.focus({ preventScroll: true });
}

addEventListener("focusin", ({ target }) => notices.contains(target) || (lastFocus = target));

// Refresh at once, or when the tab becomes visible.
function refresh() {
  stale = document.hidden;
  if (!stale) enqueue(() => fetchPage({ url: cartLink.href }).then(parsePage).then(update, () => (stale = true)));
}

// After a log-in or log-out other tabs refresh.
const { user = "guest" } = document.body.dataset;
if ((sessionStorage.user ?? user) !== user) otherTabs.postMessage("changed");
sessionStorage.user = user;

noticeList.innerHTML = sessionStorage.notices ?? ""; // of the last page
delete sessionStorage.notices;

otherTabs.addEventListener("message", refresh);
addEventListener("visibilitychange", () => stale && refresh());
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) submitted.clear(); // from the back-forward cache
  if (persisted || sessionStorage.stale) for (const delay of [0, STORED]) setTimeout(refresh, delay);
  isLeaving = false;
  delete sessionStorage.stale;
});
