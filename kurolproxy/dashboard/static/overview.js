// The overview, kept up with the live feed. Texts go in as text, whatever they hold.
"use strict";

{
  const write = window.kurolWrite;
  const standing = document.getElementById("standing");
  const meter = document.getElementById("meter");
  const running = document.getElementById("running");
  const last = document.getElementById("last");
  const steps = document.getElementById("steps");
  const runningRow = document.getElementById("running-row").content.firstElementChild;
  const lastRow = document.getElementById("last-row").content.firstElementChild;
  const shown = Number(last.dataset.shown);
  // Seconds that the server's clock is before the browser's.
  let ahead = 0;

  document.addEventListener("kurol:live", (event) => {
    const update = event.detail;
    ahead = update.now - Date.now() / 1000;
    stand(update);
    run(update.running);
    for (const row of update.finished) add(row);
  });
  setInterval(tick, 1000);

  function set(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function fill(row, fields) {
    for (const [name, value] of Object.entries(fields)) set(row.querySelector(`[data-f="${name}"]`), value);
  }

  // --- figures --------------------------------------------------------------------------

  function stand(update) {
    const values = {
      used: write.count(update.used),
      limit: write.count(update.limit),
      left: update.limit === null ? "–" : write.count(Math.max(0, update.limit - update.used - update.reserved)),
      resets_at: update.resets_at.slice(0, 16).replace("T", " "),
      reserved: write.count(update.reserved),
      rpm_left: write.count(update.rpm_left),
      rpm_limit: write.count(update.rpm_limit),
      running_total: write.count(update.running_total),
    };
    for (const [name, text] of Object.entries(values)) set(standing.querySelector(`[data-v="${name}"]`), text);
    for (const each of standing.querySelectorAll("[data-if]")) each.hidden = update[each.dataset.if] === null;
    for (const each of standing.querySelectorAll("[data-unless]")) each.hidden = update[each.dataset.unless] !== null;
    meter.max = update.limit || 1;
    meter.value = update.limit ? update.used : 0;
  }

  // --- what runs ------------------------------------------------------------------------

  function run(calls) {
    const body = running.querySelector("tbody");
    const known = new Map([...body.rows].map((row) => [row.dataset.id, row]));
    for (const call of calls) {
      let row = known.get(call.id);
      known.delete(call.id);
      if (!row) {
        row = runningRow.cloneNode(true);
        row.dataset.id = call.id;
        row.dataset.started = call.started;
        fill(row, { model: call.model, client: call.client || "–", endpoint: call.endpoint, key: call.key_label || call.key });
        body.append(row);
      }
      fill(row, { prompt: write.count(call.prompt), completion: write.count(call.completion) });
    }
    for (const row of known.values()) row.remove();
    running.hidden = !calls.length;
    tick();
  }

  function tick() {
    const now = Date.now() / 1000 + ahead;
    for (const row of running.querySelectorAll("tbody tr")) {
      fill(row, { seconds: write.duration(Math.max(0, now - row.dataset.started)) });
    }
  }

  // --- what ended -----------------------------------------------------------------------

  function add(call) {
    const body = last.querySelector("tbody");
    if ([...body.rows].some((row) => row.dataset.id === call.id)) return;
    const row = lastRow.cloneNode(true);
    row.dataset.id = call.id;
    fill(row, {
      at: write.stamp(call.at).slice(5),
      model: call.model,
      client: call.client || "–",
      endpoint: call.endpoint,
      key: call.key_label || call.key,
      prompt: write.count(call.prompt),
      completion: write.count(call.completion),
      took: write.duration(call.ms / 1000),
      status: String(call.status),
      outcome: call.outcome === "ok" ? "" : call.outcome.replaceAll("_", " "),
    });
    row.querySelector("time").dateTime = new Date(call.at * 1000).toISOString();
    const kind = call.outcome === "ok" ? "good" : call.status >= 500 ? "danger" : "warn";
    row.querySelector('[data-f="status"]').className = `badge ${kind}`;
    body.prepend(row);
    while (body.rows.length > shown) body.rows[body.rows.length - 1].remove();
    last.hidden = false;
    steps.hidden = true;
  }
}
