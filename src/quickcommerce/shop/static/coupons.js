// The page of coupons: those that may be had, and those that the buyer has.

import { ask, ended, find, insist, say, signIn, toast, won } from "./kit.js";

const may = find("policies").dataset.may; // buyers alone are given coupons

const until = (coupon) => new Date(coupon.ends_at).toLocaleString(document.documentElement.lang, {
  timeZone: "Asia/Seoul", dateStyle: "medium", timeStyle: "short",
});

function stateOf(coupon) {
  if (coupon.status !== "ISSUED") return say("coupon_used");
  return say(ended(coupon) ? "ended" : "coupon_have");
}

function row(coupon, state) {
  const item = find("coupon").content.firstElementChild.cloneNode(true);
  const rate = coupon.discount_type === "RATE";
  item.querySelector(".coupon-off").textContent = rate
    ? say("coupon_rate", { rate: coupon.discount_value })
    : say("coupon_off", { amount: won(coupon.discount_value) });
  item.querySelector("h3").textContent = coupon.name;
  item.querySelector("p").textContent = [
    coupon.min_order_amount ? say("coupon_min", { amount: won(coupon.min_order_amount) }) : "",
    rate && coupon.max_discount_amount ? say("coupon_max", { amount: won(coupon.max_discount_amount) }) : "",
    coupon.ends_at ? say("coupon_until", { time: until(coupon) }) : "",
  ].filter(Boolean).join(" · ");
  const button = item.querySelector("button");
  if (state) {
    button.disabled = true;
    button.textContent = state;
  }
  return item;
}

async function take(policy, button) {
  button.disabled = true;
  const answer = await insist("POST", `/v1/coupons/${encodeURIComponent(policy.policy_id)}/issue`, { body: "{}" });
  if (answer?.status === 401) return signIn();
  const gone = ended(policy) ? "coupon_late" : "coupon_gone";
  if (answer?.status < 300) toast(say("coupon_taken"));
  else toast(say(answer?.body.code === "coupon-not-usable" ? gone : "failed"));
  return show();
}

async function show() {
  const [policies, own] = await Promise.all([
    ask("GET", "/v1/coupon-policies?limit=100"), find("own") ? ask("GET", "/v1/coupons?limit=100") : null,
  ]);
  const mine = own?.status === 200 ? own.body.items : [];
  const had = new Set(mine.map((each) => each.policy_id));
  const there = policies?.status === 200 ? policies.body.items : [];
  find("none").hidden = there.length > 0;
  find("policies").replaceChildren(...there.map((policy) => {
    const item = row(policy, had.has(policy.policy_id) ? say("coupon_have") : "");
    const button = item.querySelector("button");
    button.addEventListener("click", () => take(policy, button));
    if (!may) button.remove();
    return item;
  }));
  if (!find("own")) return;
  find("none-own").hidden = mine.length > 0;
  find("own").replaceChildren(...mine.map((each) => row(each, stateOf(each))));
}

show();
