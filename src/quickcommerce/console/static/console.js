// The operator's page follows the shop: it asks for itself anew, and takes those of its parts that say something else.

const EVERY_MS = 3000;

async function renew() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/console", { headers: { Accept: "text/html" }, cache: "no-store", credentials: "same-origin" });
    // The session has ended, or may not see this any more: the whole page says so.
    if (answer.redirected || answer.status === 401 || answer.status === 403) {
      location.assign("/console");
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    take(new DOMParser().parseFromString(await answer.text(), "text/html"));
    lively(true);
  } catch {
    lively(false);
  }
}

/** A part that is the same stays as it is: a button that is being pressed, and where the keyboard is, are not lost. */
function take(fresh) {
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const old = document.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!old.isEqualNode(part)) old.replaceWith(document.adoptNode(part));
  }
}

/** Whether what is shown is what the shop says now. */
function lively(now) {
  document.querySelector("[data-live]").hidden = !now;
}

async function follow() {
  await renew();
  setTimeout(follow, EVERY_MS);
}

// One press, one replay: a second one would only be told that the letter is gone.
document.addEventListener("submit", (event) => {
  event.target.querySelector("button").disabled = true;
});
document.addEventListener("visibilitychange", renew);
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
follow();
