// In development: the session of this browser at the foot of the page, and what the last request did to the store.

const strip = document.getElementById("session-strip");
const DELAY = 50; // milliseconds, for requests that end together
const READER = { Accept: "application/json" };
let last; // the request shown
let timer;

function createElement(name, className, text) {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

// A request with its `Server-Timing`: the method, then the operations on the store.
function describe({ name, serverTiming: [total, ...operations] }) {
  const request = createElement("span", "request", `${total.description} ${new URL(name).pathname}`);
  const calls = operations.map((one) =>
    createElement("span", "call", `${one.name} ${one.description} ${one.duration.toFixed(2)} ms`),
  );
  return [request, ...(calls.length ? calls : [createElement("span", "call", "no store operation")])];
}

async function show() {
  const response = await fetch(strip.querySelector("a").href, { headers: READER });
  if (!response.ok) return;
  const { backend, session } = await response.json();
  const facts = session
    ? [session.handle, backend, `v${String(session.version).slice(0, 12)}`, `${session.size} B`, session.user ? "user" : "guest"]
    : [backend, "no session stored"];
  strip.replaceChildren(
    strip.firstElementChild,
    ...facts.map((fact) => createElement("span", "fact", fact)),
    ...(last ? describe(last) : []),
  );
}

function showSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => show().catch(() => {}), DELAY); // during an outage the strip keeps its content
}

function observe(entries) {
  const own = entries.filter((entry) => entry.serverTiming?.[0]?.name === "total");
  if (!own.length) return;
  last = own.at(-1);
  showSoon();
}

const observer = new PerformanceObserver((list) => observe(list.getEntries()));
for (const type of ["navigation", "resource"]) observer.observe({ type, buffered: true });
showSoon();
