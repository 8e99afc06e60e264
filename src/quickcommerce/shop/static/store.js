// The basket, kept by the browser for all its windows.
//
// The key goes with what is in the basket: as long as that stays as it is, an order of it is one and the same order,
// however often it is sent, from however many windows.

const NAME = "qc.basket";
const EMPTY = { lines: [], key: "", sent: false };
const LINES_MAX = 50;
export const QUANTITY_MAX = 999;

const changed = new EventTarget();
let kept = null; // where the browser keeps nothing for us

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

const isLine = (line) => Number.isSafeInteger(line?.product_id) && Number.isSafeInteger(line.quantity) && line.quantity > 0
  && Number.isSafeInteger(line.price) && typeof line.name === "string";

/** The basket: {lines: [{product_id, quantity, price, name, tile, picture, coupon_id}], key, sent}. What is no line is
 * left out, and the key with it. `sent`: it may have been ordered, and the answer is not known. */
export function read() {
  try {
    const text = localStorage.getItem(NAME);
    const found = text ? JSON.parse(text) : EMPTY;
    if (!Array.isArray(found?.lines)) return EMPTY;
    const lines = found.lines.filter(isLine);
    const whole = lines.length === found.lines.length && typeof found.key === "string";
    return { lines, key: whole ? found.key : "", sent: whole && Boolean(found.sent) };
  } catch {
    return kept ?? EMPTY;
  }
}

/** What is sent to order a basket. */
export const order = (basket) =>
  JSON.stringify({
    lines: basket.lines.map(({ product_id, quantity, price, coupon_id }) => ({
      product_id, quantity, expected_price: price, ...(coupon_id ? { coupon_id } : {}),
    })),
  });

function keep(next) {
  try {
    localStorage.setItem(NAME, JSON.stringify(next));
  } catch {
    kept = next;
  }
  changed.dispatchEvent(new Event("change"));
}

function write(before, lines) {
  const next = { ...before, lines };
  keep(next.key && order(next) === order(before) ? next : { lines, key: newKey(), sent: false });
}

/** Whether the basket as it is may have been ordered. Nothing but the buyer changes it then: its key goes with it. */
export function sent(on) {
  keep({ ...read(), sent: on });
}

/** Put more of a product into the basket. Returns whether there was room. */
export function add(product, quantity = 1) {
  const basket = read();
  const { product_id, name, price, tile, picture } = product;
  const known = basket.lines.find((line) => line.product_id === product_id);
  if (!known && basket.lines.length >= LINES_MAX) return false;
  const line = { ...known, product_id, name, price, tile, picture };
  line.quantity = Math.min((known?.quantity ?? 0) + quantity, QUANTITY_MAX);
  write(basket, known ? basket.lines.map((each) => (each === known ? line : each)) : [...basket.lines, line]);
  return true;
}

/** Change a line; `null` takes it out. */
export function change(productId, values) {
  const basket = read();
  const lines = basket.lines.flatMap((line) => {
    if (line.product_id !== productId) return [line];
    return values ? [{ ...line, ...values }] : [];
  });
  write(basket, lines);
}

/** Take out what was ordered. What was added meanwhile in another window stays. */
export function ordered(those) {
  const basket = read();
  const taken = new Map(those.lines.map((line) => [line.product_id, line.quantity]));
  const lines = basket.lines
    .map((line) => ({ ...line, quantity: line.quantity - (taken.get(line.product_id) ?? 0), coupon_id: undefined }))
    .filter((line) => line.quantity > 0);
  write(basket, lines);
}

/** The next order is another one: that of this key has ended long ago, or there is no key. */
export function again() {
  const basket = read();
  write({ ...basket, key: "" }, basket.lines);
}

/** Call `listener` whenever the basket changes, in this window or in another, and when a page comes back. */
export function onChange(listener) {
  changed.addEventListener("change", listener);
  addEventListener("storage", (event) => { if (event.key === NAME || event.key === null) listener(); });
  addEventListener("pageshow", (event) => { if (event.persisted) listener(); });
}
