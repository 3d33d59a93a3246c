// New requests at the top of the list, as they end.
"use strict";

{
  const body = document.getElementById("newest");
  const most = body ? Number(body.dataset.most) : 0;

  // As the templates write them.
  const count = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u2009");
  const stamp = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

  function took(ms) {
    if (ms === null) return "–";
    if (ms < 1000) return `${ms} ms`;
    if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
    return ms < 7200000 ? `${Math.round(ms / 60000)} min` : `${Math.round(ms / 3600000)} h`;
  }

  function made(name, text, attributes = {}) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(text);
    return element;
  }

  function kind(row) {
    if (row.outcome === "ok") return "good";
    if (row.outcome === "client_gone") return "";
    return row.status < 500 ? "warn" : "danger";
  }

  function account(row) {
    if (!row.account) return `${body.dataset.deleted} ${row.account_id}`;
    return made("a", row.account, { href: `/dashboard/admin/accounts/${row.account_id}` });
  }

  function key(row) {
    if (row.key === body.dataset.sessionKey) return body.dataset.playground;
    return row.key_label || made("code", row.key);
  }

  // Two texts in one cell, the second one small below the first.
  function both(first, second) {
    const found = made("span", first);
    found.append(document.createElement("br"), made("span", second, { class: "small" }));
    return found;
  }

  function result(row) {
    const found = made("span", made("span", row.outcome, { class: `badge ${kind(row)}` }));
    found.append(" ", made("span", String(row.status), { class: "small" }));
    return found;
  }

  function line(row) {
    const labels = [...body.closest("table").querySelectorAll("thead th")].slice(1);
    const cells = [
      both(account(row), key(row)), both(row.model, row.upstream || "–"), row.endpoint, result(row),
      count(row.prompt), count(row.completion), took(row.ttft_ms), took(row.ms),
    ];
    const time = made("time", stamp(row.at).slice(5), { datetime: `${stamp(row.at).replace(" ", "T")}Z` });
    const link = made("a", time, { href: `/dashboard/admin/requests/${encodeURIComponent(row.id)}` });
    const found = made("tr", made("th", link, { scope: "row", class: "nowrap" }), { id: row.id });
    cells.forEach((cell, index) => {
      const label = labels[index];
      found.append(made("td", cell, { "data-label": label.textContent, class: label.className }));
    });
    return found;
  }

  if (body) {
    document.addEventListener("kurol:live", (event) => {
      for (const row of event.detail.finished || []) {
        if (document.getElementById(row.id)) continue;
        body.prepend(line(row));
        document.getElementById("none")?.remove();
      }
      while (body.rows.length > most) body.lastElementChild.remove();
    });
  }
}
