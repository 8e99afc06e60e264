// The PG's widget in the pay page: the buyer chooses how to pay and agrees, and is taken to the PG and back.

import { find, pause, toast } from "./kit.js";

const WAIT_MS = 20000;
const { script, clientKey, customerKey, amount, request } = JSON.parse(find("widget").dataset.widget);
const button = find("pay");

/** Run the PG's script. */
const load = (address) => new Promise((resolve, reject) => {
  const element = document.createElement("script");
  element.src = address;
  element.addEventListener("load", resolve);
  element.addEventListener("error", reject);
  document.head.append(element);
});

/** Show the widget. */
async function show() {
  await load(script);
  const widgets = window.TossPayments(clientKey).widgets({ customerKey });
  // It wants the amount before it shows anything.
  await widgets.setAmount(amount);
  await Promise.all([
    widgets.renderPaymentMethods({ selector: "#pay-methods", variantKey: "DEFAULT" }),
    widgets.renderAgreement({ selector: "#pay-agreement", variantKey: "AGREEMENT" }),
  ]);
  return widgets;
}

/** Go to the PG; whoever comes back without an answer may go again. */
async function pay(widgets) {
  button.disabled = true;
  try {
    await widgets.requestPayment(request);
  } catch (refused) {
    if (refused.message) toast(refused.message);
    button.disabled = false;
  }
}

// A page that comes back from the browser's memory may be of an order that has been paid meanwhile.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

const late = pause(WAIT_MS).then(() => { throw new Error("the widget did not come"); });
Promise.race([show(), late]).then((widgets) => {
  button.addEventListener("click", () => pay(widgets));
  button.disabled = false;
}, () => {
  button.hidden = true;
  find("unloaded").hidden = false;
});
