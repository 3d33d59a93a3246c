// Forms that count once: their button rests while the answer is on its way.
"use strict";

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("once" in form.dataset) || event.defaultPrevented) return;
  const button = form.querySelector("button:not([type=button])");
  // Only after the form was gathered; and never for good: the answer may not come.
  setTimeout(() => { button.disabled = true; });
  setTimeout(() => { button.disabled = false; }, 5000);
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form[data-once] button")) button.disabled = false;
});
