// The charts of the page about usage, drawn from the rows of its table.
"use strict";

{
  const MOST_NAMES = 12;
  const HEAD_CHARS = 5;
  const TAIL_CHARS = 9;
  const table = document.getElementById("usage");
  const boxes = [...document.querySelectorAll("[data-chart]")];
  const timed = table && ["day", "hour"].includes(table.dataset.by);
  const stepS = table && table.dataset.by === "hour" ? 3600 : 86400;
  const rows = table ? [...table.tBodies[0].rows].map((row) => row.dataset) : [];
  // The table has the newest line first; of keys and models only the first ones fit.
  const shown = timed ? rows.reverse() : rows.slice(0, MOST_NAMES);
  const places = shown.map((row, index) => (timed ? Number(row.unix) : index));
  const figures = (name) => shown.map((row) => Number(row[name]));
  const count = (value) => (value == null ? "–" : value.toLocaleString("en").replaceAll(",", "\u2009"));
  let charts = [];

  function short(value) {
    for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
      if (Math.abs(value) >= size) return `${+(value / size).toFixed(1)}${unit}`;
    }
    return String(value);
  }

  // Models of one vendor differ at their end.
  function cut(name) {
    if (timed || name.length <= HEAD_CHARS + TAIL_CHARS + 1) return name;
    return `${name.slice(0, HEAD_CHARS)}…${name.slice(-TAIL_CHARS)}`;
  }

  function dayOf(unix) {
    const text = new Date(unix * 1000).toISOString();
    return stepS === 3600 ? `${text.slice(5, 10)} ${text.slice(11, 16)}` : text.slice(0, 10);
  }

  function series(label, fill, values) {
    // What is written beside the chart is the figure itself, not the top of the stack.
    const value = (chart, _, __, index) => (index == null ? "–" : count(values[index]));
    return { label, fill, stroke: fill, width: 0, value, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 48] }) };
  }

  function draw(box) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const step = timed ? stepS : 1;
    let data;
    let drawn;
    if (box.dataset.chart === "requests") {
      const requests = figures("requests");
      data = [places, requests];
      drawn = [series(box.dataset.requests, colour("--series-3"), requests)];
    } else {
      const prompt = figures("prompt");
      const completion = figures("completion");
      // The stack: the sum behind, the prompt before it.
      data = [places, prompt.map((value, index) => value + completion[index]), prompt];
      drawn = [
        series(box.dataset.completion, colour("--series-2"), completion),
        series(box.dataset.prompt, colour("--series-1"), prompt),
      ];
    }
    const name = (value) => (timed ? dayOf(value) : shown[value]?.name ?? "");
    const across = {
      ...axis,
      grid: { show: false },
      values: (chart, splits) => splits.map((value) => (Number.isInteger(value) ? cut(name(value)) : "")),
    };
    if (timed) {
      across.space = stepS === 3600 ? 90 : 80;
      across.incrs = [1, 2, 3, 6, 7, 12, 14, 24, 30, 48, 60, 90].map((factor) => factor * stepS);
    } else {
      Object.assign(across, { splits: () => places, space: 20, rotate: 35, size: 84 });
    }
    return new uPlot({
      width: Math.max(200, box.clientWidth),
      height: (box.classList.contains("low") ? 140 : 230) + (timed ? 50 : 84),
      scales: {
        x: { time: false, range: () => [places[0] - step * 0.7, places[places.length - 1] + step * 0.7] },
        y: { range: (chart, low, high) => [0, Math.max(1, high) * 1.08] },
      },
      axes: [across, { ...axis, size: 56, values: (chart, splits) => splits.map((value) => (Number.isInteger(value) ? short(value) : "")) }],
      series: [{ label: table.tHead.rows[0].cells[0].textContent, value: (chart, value) => (value == null ? "–" : name(value)) }, ...drawn],
      cursor: { y: false, drag: { x: false, y: false } },
    }, data, box);
  }

  function redraw() {
    for (const chart of charts) chart.destroy();
    charts = shown.length ? boxes.map(draw) : [];
  }

  redraw();
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 100);
  });
}
