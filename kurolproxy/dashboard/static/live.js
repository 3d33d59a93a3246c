// The live feed: reads the stream that the page names in <body data-live="PATH" data-after="SEQ">
// and tells each update as the event "kurol:live". A hidden tab reads nothing, and catches up when
// it is seen again; where no stream comes through, PATH.json is asked every two seconds instead.
"use strict";

{
  const POLL_MS = 2000;
  const FIRST_MS = 250;
  // The server tells how things stand at once: a proxy that holds it back lets nothing through.
  const PATIENCE_MS = 8000;
  // So many streams that break at once are enough: from there on it is asked, and tried again
  // every so many times.
  const FEW = 2;
  const TRIES = 15;
  const path = document.body.dataset.live;
  const badge = document.querySelector("[data-live-state]");
  let after = document.body.dataset.after || "";
  let source = null;
  let timer = 0;
  let failures = 0;
  let asked = 0;
  // Whatever answers late must not begin anything: it belongs to a turn before.
  let turn = 0;

  function show(state) {
    if (!badge) return;
    const text = badge.dataset[state];
    if (badge.textContent !== text) badge.textContent = text;
    badge.classList.toggle("good", state === "live");
  }

  function tell(update) {
    after = String(update.seq);
    document.dispatchEvent(new CustomEvent("kurol:live", { detail: update }));
  }

  function stop() {
    turn += 1;
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  }

  function start() {
    stop();
    const mine = turn;
    source = new EventSource(`${path}?after=${after}`);
    source.addEventListener("update", (event) => {
      if (mine !== turn) return;
      clearTimeout(timer);
      failures = 0;
      show("live");
      tell(JSON.parse(event.data));
    });
    source.addEventListener("error", () => { if (mine === turn) broke(); });
    timer = setTimeout(() => { if (mine === turn) broke(); }, PATIENCE_MS);
  }

  function broke() {
    stop();
    failures += 1;
    show("waiting");
    later(Math.min(POLL_MS, FIRST_MS * 2 ** failures));
  }

  function later(ms) {
    const mine = turn;
    timer = setTimeout(() => { if (mine === turn) ask(); }, ms);
  }

  // Also says why there is no stream: who is not logged in any more is sent to the login.
  async function ask() {
    const mine = turn;
    let update = null;
    try {
      const answer = await fetch(`${path}.json?after=${after}`, { redirect: "manual", cache: "no-store" });
      if (mine !== turn) return;
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
        location.reload();
        return;
      }
      if (answer.ok) update = await answer.json();
    } catch {
      // The server does not answer: it is asked again.
    }
    if (mine !== turn) return;
    if (update) tell(update);
    asked += 1;
    if (update && (failures < FEW || asked % TRIES === 0)) {
      start();
      return;
    }
    show(update ? "polling" : "waiting");
    later(POLL_MS);
  }

  function look() {
    if (document.visibilityState === "hidden") {
      stop();
      show("paused");
    } else if (!source) {
      show("waiting");
      start();
    }
  }

  if (path) {
    document.addEventListener("visibilitychange", look);
    window.addEventListener("pagehide", stop);
    window.addEventListener("pageshow", (event) => { if (event.persisted) look(); });
    look();
  }
}

// How figures are written: as the filters of the templates do (rendering.py).
window.kurolWrite = Object.freeze({
  count(value) {
    if (value === null || value === undefined) return "–";
    return String(value).replace(/\B(?=(\d{3})+$)/g, "\u2009");
  },
  stamp(unix) {
    return new Date(unix * 1000).toISOString().slice(0, 19).replace("T", " ");
  },
  duration(seconds) {
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 120) return `${seconds.toFixed(1)} s`;
    if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
    return `${Math.round(seconds / 3600)} h`;
  },
});
