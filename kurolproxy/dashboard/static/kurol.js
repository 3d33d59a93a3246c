// What every page does: the menu of small screens, light or dark, copying, asking before something
// is deleted, and a text for each request of a page's part that went wrong.
"use strict";

{
  const SAID_MS = 8000;
  const root = document.documentElement;
  const said = document.getElementById("said");
  let silence;

  // --- telling ------------------------------------------------------------------------

  function say(text, wrong) {
    clearTimeout(silence);
    said.classList.toggle("danger", Boolean(wrong));
    said.textContent = text;
    silence = setTimeout(() => { said.textContent = ""; }, SAID_MS);
  }
  document.addEventListener("kurol:say", (event) => say(event.detail.text, event.detail.wrong));

  // htmx puts every answer into the page, an error page too: a form with what is wrong about it
  // (422) belongs there, everything else is told.
  document.addEventListener("htmx:before:swap", (event) => {
    const { response, text } = event.detail.ctx;
    if (!response || response.status < 400 || response.status === 422) return;
    event.preventDefault();
    const page = new DOMParser().parseFromString(text || "", "text/html");
    say(page.querySelector("[data-error]")?.textContent || said.dataset.failed, true);
  });
  document.addEventListener("htmx:error", () => say(said.dataset.offline, true));

  // --- what is pressed ----------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("button, a[data-menu]");
    if (!pressed) return;
    if ("menu" in pressed.dataset) {
      event.preventDefault();
      const open = document.getElementById("nav").classList.toggle("open");
      pressed.setAttribute("aria-expanded", String(open));
    } else if ("themeSwitch" in pressed.dataset) {
      switchTheme();
    } else if (pressed.dataset.copy) {
      copy(document.getElementById(pressed.dataset.copy), pressed);
    }
  });

  // On the way down, before htmx hears of it.
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (!question || window.confirm(question)) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);

  function switchTheme() {
    const dark = root.dataset.theme === "dark"
      || (!root.dataset.theme && window.matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `kurol-theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict${secure}`;
  }

  async function copy(source, button) {
    const text = "value" in source ? source.value : source.textContent;
    if (!await written(text) && !copiedBySelection(source)) {
      // What is left: it is marked, and the keys for copying are the reader's.
      say(said.dataset.marked);
      return;
    }
    say(button.dataset.copied || said.dataset.copied);
  }

  // Browsers without https, or without leave, have no clipboard to write to.
  async function written(text) {
    if (!navigator.clipboard) return false;
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false;
    }
  }

  function copiedBySelection(source) {
    if ("select" in source) {
      source.select();
    } else {
      window.getSelection().selectAllChildren(source);
    }
    return document.execCommand("copy");
  }

  // --- tables that are wider than the screen --------------------------------------------

  // What scrolls is reached by keyboard, and has a name then.
  function nameScrollers() {
    for (const box of document.querySelectorAll(".scroll")) {
      const wide = box.scrollWidth > box.clientWidth;
      if (wide === box.hasAttribute("tabindex")) continue;
      if (!wide) {
        for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
        continue;
      }
      const heading = box.querySelector("caption") || box.closest("section, .card, main")?.querySelector("h1, h2, h3");
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", heading?.textContent.trim() || document.title);
    }
  }
  nameScrollers();
  window.addEventListener("resize", nameScrollers);
  document.addEventListener("htmx:after:settle", nameScrollers);
  // Behind those who put it into the page.
  document.addEventListener("kurol:live", () => setTimeout(nameScrollers));
}
