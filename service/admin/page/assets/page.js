// The page is whole without this: it only loads its content anew now and then, while nobody is busy in it.
"use strict";
async function refresh() {
  const shown = document.querySelector("main");
  const isBusy = () => document.hidden || shown.contains(document.activeElement);
  if (!isBusy()) {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      const open = [...shown.querySelectorAll("details[open]")].map((one) => one.id);
      for (const one of fresh.querySelectorAll("details")) one.open ||= open.includes(one.id);
      if (!isBusy()) shown.replaceWith(document.adoptNode(fresh));
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  }
  plan();
}
function plan() {
  const seconds = Number(document.querySelector("main").dataset.live || 0);
  if (seconds) setTimeout(refresh, seconds * 1000);
}
plan();
