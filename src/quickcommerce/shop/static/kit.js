// What every script of the shop uses: words, money, questions to the shop, and a line that says what happened.

const SAID = JSON.parse(document.body.dataset.said);
const AHEAD_MS = Number(document.body.dataset.now) - Date.now();
const TRIES = 6;
const LAST_WAIT_MS = 5000;

/** The shop's time in milliseconds: the buyer's own clock may be wrong. */
export const now = () => Date.now() + AHEAD_MS;

/** A text in the buyer's language; one that ends in `_one` is said of a single thing. */
export const say = (key, values = {}) =>
  Object.entries(values).reduce(
    (text, [name, value]) => text.replaceAll(`{${name}}`, () => value),
    (values.count === 1 && SAID[`${key}_one`]) || SAID[key],
  );

/** Whether a coupon, or what gives it, has ended. */
export const ended = (coupon) => Date.parse(coupon.ends_at) <= now();

/** An amount of money. */
export const won = (amount) => say("won", { amount: amount.toLocaleString("en-US") });

/** An element of the page, by a data attribute. */
export const find = (name, inside = document) => inside.querySelector(`[data-${name}]`);

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let hiding = 0;

/** Say what happened, for a moment. */
export function toast(text) {
  const line = find("toast");
  line.textContent = text;
  line.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { line.hidden = true; }, 3500);
}

/** Where to sign in and come back. */
export const signIn = () => location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);

/** Ask the shop. Returns {status, body, headers}, or null where no whole answer came. */
export async function ask(method, path, { body, key } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  try {
    const answer = await fetch(path, { method, headers, body, cache: "no-store", credentials: "same-origin" });
    return { status: answer.status, body: await answer.json(), headers: answer.headers };
  } catch {
    return null;
  }
}

/** Ask until there is an answer that is not `later`: with a key, or for what may be done twice without harm. */
export async function insist(method, path, options) {
  let answer = null;
  for (let tried = 0; tried < TRIES; tried += 1) {
    answer = await ask(method, path, options);
    const later = answer?.headers.get("Retry-After");
    if (answer && later === null) return answer;
    if (tried + 1 < TRIES) await pause(Math.min(Number(later ?? 0) * 1000 || 250 * 2 ** tried, LAST_WAIT_MS));
  }
  return answer;
}
