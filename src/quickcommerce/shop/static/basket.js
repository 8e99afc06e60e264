// The basket's page: its lines, what is wrong with them, and the order, which is placed once.

import { ask, ended, find, insist, say, signIn, toast, won } from "./kit.js";
import { QUANTITY_MAX, again, change, onChange, order, ordered, read, sent } from "./store.js";

const ENDED = ["EXPIRED", "CANCELLED", "FAILED"];
const button = find("order");
const label = button.textContent;
const notes = new Map(); // product id -> kind of problem -> {text, action, act}
const limits = new Map(); // product id -> units that may be sold, as last heard
let had = []; // the buyer's coupons, all of them
let coupons = []; // those that can be used
let shown = ""; // the key of the basket that the buyer sees
let busy = false;

function discount(line) {
  const coupon = coupons.find((each) => each.coupon_id === line.coupon_id);
  const amount = line.price * line.quantity;
  if (!coupon || amount < coupon.min_order_amount) return 0;
  const off = coupon.discount_type === "RATE" ? Math.floor((amount * coupon.discount_value) / 100) : coupon.discount_value;
  return Math.min(off, coupon.max_discount_amount || off, amount);
}

function couponText(coupon) {
  const off = coupon.discount_type === "RATE"
    ? say("coupon_rate", { rate: coupon.discount_value })
    : say("coupon_off", { amount: won(coupon.discount_value) });
  return `${coupon.name} · ${off}`;
}

function note(id, kind, text, action, act) {
  if (!notes.has(id)) notes.set(id, new Map());
  notes.get(id).set(kind, { text, action, act });
}

const lineOf = (id) => read().lines.find((line) => line.product_id === id);

function setQuantity(row, id, quantity) {
  const fine = Math.min(Math.max(Math.trunc(quantity) || 1, 1), QUANTITY_MAX);
  row.querySelector("input").value = fine;
  notes.delete(id);
  change(id, { quantity: fine });
}

/** A new row. It stays as long as its line does: whoever stands on it with the keyboard stays there. */
function newRow(id) {
  const row = find("line").content.firstElementChild.cloneNode(true);
  row.dataset.product = id;
  const input = row.querySelector("input");
  input.addEventListener("change", () => setQuantity(row, id, Number(input.value)));
  find("less", row).addEventListener("click", () => setQuantity(row, id, lineOf(id).quantity - 1));
  find("plus", row).addEventListener("click", () => setQuantity(row, id, lineOf(id).quantity + 1));
  find("remove", row).addEventListener("click", () => change(id, null));
  const choice = row.querySelector("select");
  choice.addEventListener("change", () => {
    notes.delete(id);
    change(id, { coupon_id: Number(choice.value) || undefined });
  });
  return row;
}

function fillCoupons(row, line, lines) {
  const elsewhere = new Set(lines.filter((each) => each !== line).map((each) => each.coupon_id));
  const fitting = coupons.filter((each) => !elsewhere.has(each.coupon_id));
  row.querySelector(".line-coupon").hidden = fitting.length === 0;
  const choice = row.querySelector("select");
  const known = fitting.map((each) => each.coupon_id).join();
  if (choice.dataset.known !== known) {
    choice.dataset.known = known;
    choice.replaceChildren(choice.options[0], ...fitting.map((each) => new Option(couponText(each), each.coupon_id)));
  }
  fitting.forEach((coupon, at) => {
    choice.options[at + 1].disabled = line.price * line.quantity < coupon.min_order_amount;
  });
  choice.value = fitting.some((each) => each.coupon_id === line.coupon_id) ? line.coupon_id : "";
}

function fillNotes(row, id) {
  const found = [...(notes.get(id)?.values() ?? [])];
  const box = find("notes", row);
  row.classList.toggle("has-problem", found.length > 0);
  const known = JSON.stringify(found);
  if (box.dataset.known === known) return;
  box.dataset.known = known;
  box.replaceChildren(...found.map(({ text, action, act }) => {
    const line = find("note").content.firstElementChild.cloneNode(true);
    line.querySelector("span").textContent = text;
    const button = line.querySelector("button");
    button.hidden = !action;
    button.textContent = action ?? "";
    button.addEventListener("click", () => { notes.delete(id); act(); });
    return line;
  }));
}

/** A button that cannot be used any more hands the keyboard on. */
function enable(button, on, next) {
  if (!on && document.activeElement === button) next.focus();
  button.disabled = !on;
}

function fill(row, line, lines) {
  const id = line.product_id;
  const drawn = (name) => (/^(cat|pic)-[a-z-]+$/.test(name) ? name : "cat-other");
  row.querySelector(".tile").className = `tile ${drawn(line.tile)}`;
  const picture = `/static/${drawn(line.picture)}.svg`;
  const image = row.querySelector("img");
  if (image.getAttribute("src") !== picture) image.src = picture;
  row.querySelector("h2").textContent = line.name;
  row.querySelector(".line-price").textContent = won(line.price);
  row.querySelector(".line-amount").textContent = won(line.price * line.quantity - discount(line));
  const input = row.querySelector("input");
  // Only what changed: somebody may be typing.
  if (row.dataset.quantity !== String(line.quantity)) input.value = line.quantity;
  row.dataset.quantity = line.quantity;
  const named = { less: "less_named", plus: "plus_named", remove: "remove_named" };
  for (const [part, text] of Object.entries(named)) find(part, row).ariaLabel = say(text, { name: line.name });
  input.ariaLabel = say("quantity_named", { name: line.name });
  row.querySelector("select").ariaLabel = say("coupon_named", { name: line.name });
  enable(find("less", row), line.quantity > 1, input);
  enable(find("plus", row), line.quantity < Math.min(QUANTITY_MAX, limits.get(id) ?? QUANTITY_MAX), input);
  fillCoupons(row, line, lines);
  fillNotes(row, id);
}

function show() {
  const { lines, key } = read();
  shown = key;
  find("empty").hidden = lines.length > 0;
  find("full").hidden = lines.length === 0;
  const list = find("lines");
  const ids = new Set(lines.map((line) => String(line.product_id)));
  for (const row of [...list.children].filter((each) => !ids.has(each.dataset.product))) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    const stoodOn = row.contains(document.activeElement);
    row.remove();
    if (stoodOn) (next ? find("remove", next) : find("empty").querySelector("a")).focus();
  }
  lines.forEach((line, at) => {
    const row = list.querySelector(`[data-product="${line.product_id}"]`) ?? newRow(line.product_id);
    if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
    fill(row, line, lines);
  });
  const goods = lines.reduce((sum, line) => sum + line.price * line.quantity, 0);
  const off = lines.reduce((sum, line) => sum + discount(line), 0);
  find("goods").textContent = won(goods);
  find("discount").textContent = `−${won(off)}`;
  find("discount-row").hidden = off === 0;
  find("total").textContent = won(goods - off);
}

function tell(text) {
  const line = find("problem");
  line.textContent = text;
  line.hidden = !text;
}

function setBusy(on) {
  busy = on;
  button.disabled = on;
  button.textContent = on ? say("ordering") : label;
  find("lines").inert = on; // what is on its way is what the buyer sees
}

function short(id, available) {
  if (available > 0) {
    const take = () => change(id, { quantity: available });
    note(id, "stock", say("out", { count: available }), say("take_left", { count: available }), take);
  } else {
    note(id, "stock", say("sold_out"), say("remove"), () => change(id, null));
  }
}

const gone = (id) => note(id, "stock", say("gone"), say("remove"), () => change(id, null));

function moved(line, price) {
  note(line.product_id, "price", say("price", { before: won(line.price), after: won(price) }));
  change(line.product_id, { price });
}

/** Why a coupon was taken off a line. */
function why(line) {
  const coupon = had.find((each) => each.coupon_id === line.coupon_id);
  if (!coupon) return say("coupon");
  if (coupon.status !== "ISSUED") return say("coupon_spent");
  if (ended(coupon)) return say("coupon_over");
  const { min_order_amount: least } = coupon;
  return line.price * line.quantity < least ? say("coupon_short", { amount: won(least) }) : say("coupon");
}

function withoutCoupon(id) {
  const line = lineOf(id);
  if (!line?.coupon_id) return; // it is off already
  note(id, "coupon", why(line));
  change(id, { coupon_id: undefined });
}

/** Put each problem of an order beside the line it is about, and whatever else would be refused next. */
async function explain(problem, basket) {
  await loadCoupons(); // they tell why one cannot be used
  for (const error of problem.errors ?? []) {
    const line = basket.lines[Number(error.pointer?.split("/")[2])];
    if (!line) continue;
    const id = line.product_id;
    if (problem.code === "out-of-stock") {
      limits.set(id, error.available);
      short(id, error.available);
    } else if (problem.code === "price-changed") moved(line, error.price);
    else if (problem.code === "coupon-not-usable") withoutCoupon(id);
    else if (problem.code === "not-found") gone(id);
  }
  await refresh();
  // Of a coupon that is no line's: what is left to pay is more than nothing, and less than the PG takes.
  const little = problem.code === "coupon-not-usable" && !problem.errors;
  if (notes.size) tell(say("look"));
  else tell(little ? say("minimum", { amount: won(Number(find("minimum").dataset.minimum)) }) : say("refused"));
}

/** Whether an answer that was kept is of an order that has ended: then this is the wish for another one. */
async function isOver(answer) {
  if (!answer.headers.get("Idempotency-Replayed")) return false;
  const found = await insist("GET", `/v1/orders/${answer.body.order_id}`);
  return found?.status === 200 && ENDED.includes(found.body.status);
}

async function place() {
  const basket = read();
  if (basket.key !== shown) {
    show();
    tell(say("changed"));
    return;
  }
  notes.clear();
  tell("");
  show();
  sent(true);
  const answer = await insist("POST", "/v1/orders", { body: order(basket), key: basket.key });
  if (answer === null) {
    tell(say("lost"));
  } else if (answer.status === 201) {
    if (await isOver(answer)) {
      again();
      await place();
      return;
    }
    const { order_id: id, checkout_url: checkout } = answer.body;
    ordered(basket);
    location.assign(checkout ? `/pay/${encodeURIComponent(id)}` : `/orders/${encodeURIComponent(id)}`);
    await new Promise(() => {}); // this page is over: its button stays as it is
  } else if (answer.status === 401) {
    signIn();
  } else {
    if (answer.status < 500 && !answer.headers.get("Retry-After")) sent(false);
    await explain(answer.body, basket);
  }
}

button.addEventListener("click", async () => {
  if (busy) return;
  setBusy(true);
  try {
    await place();
  } finally {
    setBusy(false);
  }
});

/** Hear of each line what it costs now and how much there is. */
async function refresh() {
  await Promise.all(read().lines.map(async ({ product_id: id }) => {
    const answer = await ask("GET", `/v1/products/${id}`);
    const line = lineOf(id);
    if (!line) return;
    if (answer?.status === 404) gone(id);
    if (answer?.status !== 200) return;
    const { available, price } = answer.body;
    limits.set(id, available);
    if (available < line.quantity) short(id, available);
    if (price !== line.price && !read().sent) moved(line, price);
  }));
  show();
}

/** Hear which coupons the buyer has. One that another buyer had put in, or that is spent by now, is taken out. */
async function loadCoupons() {
  if (!document.body.dataset.coupons) return;
  const answer = await ask("GET", "/v1/coupons?limit=100");
  if (answer?.status !== 200) return;
  had = answer.body.items;
  coupons = had.filter((each) => each.status === "ISSUED" && !ended(each));
  const usable = new Set(coupons.map((each) => each.coupon_id));
  const strange = (line) => line.coupon_id && !usable.has(line.coupon_id);
  if (!answer.body.next_cursor && !read().sent) read().lines.filter(strange).forEach((line) => withoutCoupon(line.product_id));
  show();
}

/** What may have changed while nobody looked. */
function look() {
  refresh();
  loadCoupons();
}

onChange(show);
if (!read().key) again(); // a basket that was damaged
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  setBusy(false);
  tell("");
  look();
});
addEventListener("offline", () => toast(say("lost")));
show();
look();
