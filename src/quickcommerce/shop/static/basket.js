// The basket's page: its lines, what is wrong with them, and the order, which is placed once.

import { ask, find, insist, say, signIn, toast, won } from "./kit.js";
import { QUANTITY_MAX, again, change, onChange, order, ordered, read } from "./store.js";

const ENDED = ["EXPIRED", "CANCELLED", "FAILED"];
const button = find("order");
const label = button.textContent;
const notes = new Map(); // product id -> {text, action, act}
const limits = new Map(); // product id -> units that may be sold, as last heard
let coupons = [];
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

function showCoupons(row, line, lines) {
  const elsewhere = new Set(lines.filter((each) => each !== line).map((each) => each.coupon_id));
  const fitting = coupons.filter((each) => !elsewhere.has(each.coupon_id));
  const box = row.querySelector(".line-coupon");
  const choice = box.querySelector("select");
  box.hidden = fitting.length === 0;
  for (const coupon of fitting) {
    const option = new Option(couponText(coupon), coupon.coupon_id);
    option.disabled = line.price * line.quantity < coupon.min_order_amount;
    choice.append(option);
  }
  choice.value = line.coupon_id ?? "";
  choice.addEventListener("change", () => {
    notes.delete(line.product_id);
    change(line.product_id, { coupon_id: Number(choice.value) || undefined });
  });
}

function showNote(row, line) {
  const note = notes.get(line.product_id);
  const box = row.querySelector(".line-problem");
  box.hidden = !note;
  row.classList.toggle("has-problem", Boolean(note));
  if (!note) return;
  box.querySelector("span").textContent = note.text;
  const act = box.querySelector("button");
  act.hidden = !note.action;
  act.textContent = note.action ?? "";
  act.addEventListener("click", () => { notes.delete(line.product_id); note.act(); });
}

function rowOf(line, lines) {
  const row = find("line").content.firstElementChild.cloneNode(true);
  row.dataset.product = line.product_id;
  const drawn = (name) => (/^(cat|pic)-[a-z-]+$/.test(name) ? name : "cat-other");
  row.querySelector(".tile").classList.add(drawn(line.tile));
  row.querySelector("img").src = `/static/${drawn(line.picture)}.svg`;
  row.querySelector("h2").textContent = line.name;
  row.querySelector(".line-price").textContent = won(line.price);
  row.querySelector(".line-amount").textContent = won(line.price * line.quantity - discount(line));
  const set = (quantity) => {
    notes.delete(line.product_id);
    change(line.product_id, { quantity: Math.min(Math.max(Math.trunc(quantity) || 1, 1), QUANTITY_MAX) });
  };
  const input = row.querySelector("input");
  input.value = line.quantity;
  input.addEventListener("change", () => set(Number(input.value)));
  find("less", row).disabled = line.quantity <= 1;
  find("less", row).addEventListener("click", () => set(line.quantity - 1));
  find("plus", row).disabled = line.quantity >= Math.min(QUANTITY_MAX, limits.get(line.product_id) ?? QUANTITY_MAX);
  find("plus", row).addEventListener("click", () => set(line.quantity + 1));
  find("remove", row).addEventListener("click", () => change(line.product_id, null));
  showCoupons(row, line, lines);
  showNote(row, line);
  return row;
}

function show() {
  const { lines, key } = read();
  shown = key;
  find("empty").hidden = lines.length > 0;
  find("full").hidden = lines.length === 0;
  find("lines").replaceChildren(...lines.map((line) => rowOf(line, lines)));
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
}

function short(id, available) {
  if (available > 0) {
    notes.set(id, {
      text: say("out", { count: available }),
      action: say("take_left", { count: available }),
      act: () => change(id, { quantity: available }),
    });
  } else {
    notes.set(id, { text: say("sold_out"), action: say("remove"), act: () => change(id, null) });
  }
}

function moved(line, price) {
  notes.set(line.product_id, { text: say("price", { before: won(line.price), after: won(price) }) });
  change(line.product_id, { price });
}

/** Put each problem of an order beside the line it is about. */
function explain(problem, basket) {
  for (const error of problem.errors ?? []) {
    const line = basket.lines[Number(error.pointer?.split("/")[2])];
    if (!line) continue;
    const id = line.product_id;
    if (problem.code === "out-of-stock") {
      limits.set(id, error.available);
      short(id, error.available);
    } else if (problem.code === "price-changed") {
      moved(line, error.price);
    } else if (problem.code === "coupon-not-usable") {
      const act = () => change(id, { coupon_id: undefined });
      notes.set(id, { text: say("coupon"), action: say("without_coupon"), act });
    } else if (problem.code === "not-found") {
      notes.set(id, { text: say("gone"), action: say("remove"), act: () => change(id, null) });
    }
  }
  tell(notes.size ? say("look") : say("refused"));
  show();
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
    explain(answer.body, basket);
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
  await Promise.all(read().lines.map(async (line) => {
    const answer = await ask("GET", `/v1/products/${line.product_id}`);
    if (answer?.status === 404) {
      notes.set(line.product_id, { text: say("gone"), action: say("remove"), act: () => change(line.product_id, null) });
    } else if (answer?.status === 200) {
      const { available, price } = answer.body;
      limits.set(line.product_id, available);
      if (available < line.quantity) short(line.product_id, available);
      if (price !== line.price && !busy) moved(line, price);
    }
  }));
  show();
}

async function loadCoupons() {
  if (!document.body.dataset.coupons) return;
  const answer = await ask("GET", "/v1/coupons?limit=100");
  if (answer?.status === 200) coupons = answer.body.items.filter((each) => each.status === "ISSUED");
  show();
}

onChange(show);
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  setBusy(false);
  tell("");
  refresh();
});
addEventListener("offline", () => toast(say("lost")));
show();
refresh();
loadCoupons();
