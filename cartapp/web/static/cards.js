// The stepper of a product that is in the cart replaces its "Add to cart" button.

const SETTLING = 700; // milliseconds in which further clicks are meant for the same button

let quantities = new Map(); // product ID -> quantity in the cart
let isPending; // of shop.js
let lastPress = -Infinity;
let timer;

addEventListener("click", ({ target, timeStamp }) => {
  if (target.closest("[data-card], .stepper")) lastPress = timeStamp;
});

document.addEventListener("cart", ({ detail }) => {
  const lines = [...detail.page.querySelectorAll(".line")];
  quantities = new Map(lines.map(({ id, dataset }) => [id.split("-")[1], dataset.state.split(" ")[0]]));
  isPending = detail.isPending;
  showWhenSettled();
});

function showWhenSettled() {
  const wait = lastPress + SETTLING - performance.now();
  clearTimeout(timer);
  if (wait > 0) timer = setTimeout(showWhenSettled, wait);
  else for (const form of document.querySelectorAll("[data-card]")) show(form, form.dataset.card);
}

function show(form, product) {
  if (isPending(product) || isPending(form)) return; // its response will follow
  const field = document.getElementById(`quantity-${product}`);
  const stepper = field.closest(".stepper");
  const quantity = quantities.get(product) ?? "0";
  if (field !== document.activeElement) field.value = field.defaultValue = quantity;
  const [shown, hidden] = quantity === "0" ? [form, stepper] : [stepper, form];
  const hadFocus = hidden.contains(document.activeElement);
  [shown.hidden, hidden.hidden] = [false, true];
  if (hadFocus) shown.querySelector("button:last-of-type").focus({ preventScroll: true });
}
