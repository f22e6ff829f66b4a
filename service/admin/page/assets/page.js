// The page is whole without this: it only loads its content anew now and then, while nobody is busy in it.
"use strict";
const SECONDS = 5;
setInterval(async () => {
  const shown = document.querySelector("main[data-live]");
  if (!shown || document.hidden || shown.contains(document.activeElement)) return;
  const open = [...shown.querySelectorAll("details[open]")].map((one) => one.id);
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    if (!fresh || shown.contains(document.activeElement)) return;
    for (const one of fresh.querySelectorAll("details")) if (open.includes(one.id)) one.open = true;
    shown.replaceWith(document.adoptNode(fresh));
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
}, SECONDS * 1000);
