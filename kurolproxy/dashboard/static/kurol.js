// What every page does: the menu of small screens, light or dark, copying, asking before deleting.
"use strict";

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("menu" in button.dataset) {
    const open = document.getElementById("nav").classList.toggle("open");
    button.setAttribute("aria-expanded", String(open));
  } else if ("themeSwitch" in button.dataset) {
    switchTheme();
  } else if (button.dataset.copy) {
    copy(button);
  }
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
}, true);

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme === "dark"
    || (!root.dataset.theme && window.matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `kurol-theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(source.textContent);
  document.getElementById("said").textContent = button.dataset.copied || "Copied";
}
