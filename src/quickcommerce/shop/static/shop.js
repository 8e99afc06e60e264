// On every page: goods into the basket, the bar that shows it, and clocks that run down.

import { find, now, say, toast, won } from "./kit.js";
import { add, onChange, read } from "./store.js";

function showBasket() {
  const { lines } = read();
  const count = lines.reduce((sum, line) => sum + line.quantity, 0);
  const badge = find("count");
  badge.textContent = count;
  badge.hidden = count === 0;
  const bar = find("bar");
  if (!bar) return;
  bar.hidden = count === 0;
  find("bar-count").textContent = say("pieces", { count });
  find("bar-total").textContent = won(lines.reduce((sum, line) => sum + line.quantity * line.price, 0));
  document.body.classList.toggle("has-bar", count > 0);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-add]");
  if (button) toast(add(JSON.parse(button.dataset.add)) ? say("added") : say("full"));
});

function left(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const two = (value) => String(value).padStart(2, "0");
  const clock = `${two(minutes)}:${two(seconds % 60)}`;
  if (days) return say("days", { days, hours });
  return hours ? `${hours}:${clock}` : clock;
}

const over = new Set(); // clocks whose end was acted on

/** What is shown was true until now. */
const THEN = {
  reload: () => location.reload(),
  "list-price": (clock) => {
    const card = clock.closest("[data-list-price]");
    const button = find("add", card);
    const price = Number(card.dataset.listPrice);
    button.dataset.add = JSON.stringify({ ...JSON.parse(button.dataset.add), price });
    const shown = document.createElement("b");
    shown.textContent = won(price);
    card.querySelector(".price").replaceChildren(shown);
    card.querySelector(".badge-quota")?.remove();
  },
};

function runDown() {
  for (const clock of document.querySelectorAll("[data-ends]")) {
    const ms = Date.parse(clock.dataset.ends) - now();
    clock.textContent = ms > 0 ? left(ms) : say("ended");
    clock.classList.toggle("is-late", ms < 60_000);
    if (ms > 0 || over.has(clock)) continue;
    over.add(clock);
    THEN[clock.dataset.then]?.(clock);
  }
}

showBasket();
onChange(showBasket);
runDown();
setInterval(runDown, 1000);
