// `/proof`: the same requests on two kinds of sessions.

const REQUESTS = 200;
const POLL = 50; // milliseconds
const buttons = [...document.querySelectorAll(".controls button")];
const { sessions } = document.getElementById("send")?.dataset ?? {};

async function call(side, action) {
  const response = await fetch(`${sessions}/${side}/${action}`, { method: "POST" });
  return { status: response.status, ...(response.ok ? await response.json() : {}) };
}

// Count to 200 with concurrent requests; square N shows how often the number N came back.
async function count(side) {
  const section = document.getElementById(side);
  const squares = [...section.querySelectorAll(".squares li")];
  const verdict = section.querySelector("[data-count]");
  for (const square of squares) square.className = "";
  const returned = new Map();
  await call(side, "start");
  const started = performance.now();
  let finished = 0;
  const add = async () => {
    const { count: number } = await call(side, "add");
    finished++;
    verdict.textContent = `${finished} of ${REQUESTS} responses`;
    if (!number) return;
    returned.set(number, (returned.get(number) ?? 0) + 1);
    if (squares[number - 1]) squares[number - 1].className = returned.get(number) > 1 ? "repeated" : "once";
  };
  await Promise.all(Array.from({ length: REQUESTS }, add));
  const time = Math.round(performance.now() - started);
  const { count: stored } = await call(side, "state");
  const lost = REQUESTS - stored;
  verdict.classList.toggle("lost", lost > 0);
  verdict.textContent =
    `${REQUESTS} requests in ${time} ms: the session counted ${stored}, ` + (lost ? `${lost} updates lost.` : "no update lost.");
}

// Log out in the middle of a slow payment, then see whether its last write revives the session.
async function logOutWhileWriting(side) {
  const list = document.querySelector(`#${side} [data-steps]`);
  const report = (text, isLost = false) => {
    const step = Object.assign(document.createElement("li"), { textContent: text, className: isLost ? "lost" : "" });
    list.append(step);
  };
  list.replaceChildren();
  const { user } = await call(side, "start");
  report(`${user} is logged in and starts a payment.`);
  const payment = call(side, "pay");
  while ((await call(side, "state")).order !== "pending") await new Promise((wake) => setTimeout(wake, POLL));
  await call(side, "log-out");
  report(`${user} logs out; the payment is still running.`);
  const { status } = await payment;
  report(`The payment stores its result: status ${status}.`);
  const after = await call(side, "state");
  report(after.user ? `The session is back: ${after.user} is logged in again.` : "The session stays ended.", Boolean(after.user));
}

async function run(experiment) {
  for (const button of buttons) button.disabled = true;
  try {
    for (const side of ["layer", "plain"]) await experiment(side);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

document.getElementById("send")?.addEventListener("click", () => run(count));
document.getElementById("log-out")?.addEventListener("click", () => run(logOutWhileWriting));
