// The page of an order: it follows what happens to it, and asks before it cancels or gives money back.

import { find, insist, say, signIn, toast } from "./kit.js";

const WAIT_MS = 500;
const WAIT_MAX_MS = 15_000;
const AGAIN_MS = 5_000;
const SAYS = { status: "h1", money: "[data-told]" }; // where the page says what changed
let connectAgainMs = 1_000;
let source = null;
let wanted = 0; // the newest version that was heard of
let renewing = false;
let wake = () => {};
let later = 0; // when the page looks again by itself

const version = () => Number(find("order").dataset.version);

/**
 * Take the place of what is shown. What others wrote stays text, and scripts do not run again.
 * Whoever is being asked is not interrupted: the page is taken when the question is closed.
 */
function put(fresh) {
  const old = find("order");
  if (Number(fresh.dataset.version) < version() || old.querySelector("dialog[open]") || fresh.isEqualNode(old)) return;
  const stoodOn = old.contains(document.activeElement);
  const changed = ["status", "money"].find((each) => fresh.dataset[each] !== old.dataset[each]);
  old.replaceWith(fresh);
  if (stoodOn) fresh.querySelector("h1").focus();
  if (changed) find("happened").textContent = fresh.querySelector(SAYS[changed]).textContent;
  again();
}

/** Take the page as the shop shows it now. Returns whether it is as new as what was heard of. */
async function take() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) signIn();
    if (answer.status >= 400) return answer.status < 500;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-order]");
    if (fresh) put(fresh);
    return version() >= wanted;
  } catch {
    return false; // the connection is gone
  }
}

/** Take the page as it is now, until that has worked. */
async function renew() {
  wake();
  if (renewing) return;
  renewing = true;
  for (let wait = WAIT_MS; !(await take()); wait = Math.min(2 * wait, WAIT_MAX_MS)) {
    await new Promise((resolve) => { wake = resolve; setTimeout(resolve, wait); });
  }
  renewing = false;
}

/** Money on its way makes no new version of the order: while there is some, look again by and by. */
function again() {
  clearTimeout(later);
  if (!find("order").dataset.again) return;
  later = setTimeout(async () => {
    if (!document.hidden) await renew();
    again();
  }, AGAIN_MS);
}

function follow() {
  const { order, follow: on } = find("order").dataset;
  if (!on || source) return;
  const mine = new EventSource(`/orders/${encodeURIComponent(order)}/events`);
  source = mine;
  mine.addEventListener("order", (event) => {
    wanted = Math.max(wanted, JSON.parse(event.data).version);
    if (wanted > version()) renew();
  });
  mine.addEventListener("open", () => { connectAgainMs = 1_000; });
  mine.addEventListener("end", () => {
    stop();
    find("live")?.setAttribute("hidden", "");
  });
  mine.addEventListener("error", () => {
    // The browser connects again by itself, but not after an answer that was an error.
    if (mine.readyState !== EventSource.CLOSED || source !== mine) return;
    stop();
    setTimeout(look, connectAgainMs);
    connectAgainMs = Math.min(2 * connectAgainMs, 2 * WAIT_MAX_MS);
  });
}

function stop() {
  source?.close();
  source = null;
}

/** What may have happened while nothing was heard. */
function look() {
  renew();
  follow();
}

async function post(button) {
  button.disabled = true;
  const { post: path, body, key } = button.dataset;
  const answer = await insist("POST", path, { body, key });
  button.disabled = false;
  button.closest("dialog").close();
  if (answer?.status === 401) signIn();
  else if (!answer) toast(say("cut"));
  else if (answer.body.status === "PENDING") toast(say("refund_pending"));
  else if (answer.status >= 400) toast(say("failed"));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.ask) find(`dialog="${button.dataset.ask}"`).showModal();
  if ("keep" in button.dataset) button.closest("dialog").close();
  if (button.dataset.post && !button.disabled) post(button);
});

document.addEventListener("close", look, true); // of a dialog; it does not bubble
addEventListener("pagehide", stop);
addEventListener("pageshow", (event) => { if (event.persisted) look(); });
addEventListener("online", look);
follow();
again();
