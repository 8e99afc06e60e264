// The page of an order: it follows what happens to it, and asks before it cancels or gives money back.

import { find, insist, say, signIn, toast } from "./kit.js";

let source = null;

/** Take the page as the shop shows it now. Its scripts do not run again, and what others wrote stays text. */
async function renew() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) return signIn();
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-order]");
    const old = find("order");
    if (fresh && Number(fresh.dataset.version) >= Number(old.dataset.version)) old.replaceWith(fresh);
  } catch {
    // The connection is gone; the next event, or the next connection, asks again.
  }
  return undefined;
}

function follow() {
  const { order, follow: on } = find("order").dataset;
  if (!on || source) return;
  source = new EventSource(`/orders/${encodeURIComponent(order)}/events`);
  source.addEventListener("order", (event) => {
    if (JSON.parse(event.data).version > Number(find("order").dataset.version)) renew();
  });
  source.addEventListener("end", stop);
}

function stop() {
  source?.close();
  source = null;
}

async function post(button) {
  button.disabled = true;
  const { post: path, body, key } = button.dataset;
  const answer = await insist("POST", path, { body, key });
  button.closest("dialog").close();
  if (answer?.status === 401) return signIn();
  if (answer?.body.status === "PENDING") toast(say("refund_pending"));
  else if (!answer || answer.status >= 400) toast(say("failed"));
  await renew();
  follow();
  return undefined;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.ask) find(`dialog="${button.dataset.ask}"`).showModal();
  if ("keep" in button.dataset) button.closest("dialog").close();
  if (button.dataset.post && !button.disabled) post(button);
});

addEventListener("pagehide", stop);
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  renew();
  follow();
});
follow();
