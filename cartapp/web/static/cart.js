// The cart page follows the responses; focus, caret and scroll stay.

const main = document.getElementById("content");
let change; // {page, isPending, isOutdated} of shop.js

document.addEventListener("cart", ({ detail }) => {
  change = detail;
  main.querySelector(".message.problem")?.remove();
  keepFocus(() => renewChildren(main, change.page.getElementById("content")));
});

// Move the focus to the next line if its element is removed.
function keepFocus(renewAll) {
  const active = document.activeElement;
  const hadFocus = main.contains(active);
  const lines = main.getElementsByClassName("line");
  const index = [...lines].indexOf(active.closest(".line"));
  renewAll();
  if (!hadFocus || main.contains(active)) return;
  const next = lines[Math.min(index, lines.length - 1)];
  (next ?? main.querySelector("h1")).focus({ preventScroll: Boolean(next) });
}

function renew(node, model) {
  if (node.data !== model.data) node.data = model.data;
  if (!node.attributes) return; // text
  if (isUnchanged(model)) return void (change.isOutdated ||= node.dataset.state !== model.dataset.state);
  const isEdited = node === document.activeElement && node.value !== node.defaultValue;
  for (const { name } of [...node.attributes]) if (!model.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of model.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  const isOwn = isEdited || change.isPending(node.dataset.product);
  if (node.matches("input") && !isOwn && node.value !== model.value) node.value = model.value;
  renewChildren(node, model);
}

// Match children by ID or place.
function renewChildren(node, model) {
  const models = getParts(model);
  const ids = new Set(models.map((part) => part.id));
  for (const part of getParts(node)) if (part.id && !ids.has(part.id)) part.remove();
  const parts = getParts(node);
  models.forEach((part, index) => {
    const present = parts[index];
    if (present?.nodeName === part.nodeName && present.id === part.id) renew(present, part);
    else {
      change.isOutdated ||= isUnchanged(part);
      node.insertBefore(part, present ?? null);
      parts.splice(index, 0, part);
    }
  });
  for (const part of parts.slice(models.length)) part.remove();
}

// A line that the request did not change: the response has only its state.
const isUnchanged = (model) => model.matches?.(".line:empty");

function getParts(node) {
  if (node.nodeName === "NOSCRIPT") return [];
  return [...node.childNodes].filter((part) => (part.matches ? !part.matches(".message") : part.data.trim()));
}
