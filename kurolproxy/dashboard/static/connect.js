// Connect: ticks a tool when a request of it arrives.
"use strict";

{
  const names = (element) => element.dataset.tool.split(" ");

  function arrived(call) {
    for (const tab of document.querySelectorAll("a[data-tool]")) {
      if (names(tab).includes(call.client)) tab.querySelector("[data-tick]").hidden = false;
    }
    const line = document.getElementById("arrived");
    if (!line || !("waiting" in line.dataset)) return;
    // A key that was made here tells more than a header: who calls with it was told it here.
    const ours = line.dataset.key ? call.key === line.dataset.key : names(line).includes(call.client);
    if (!ours) return;
    delete line.dataset.waiting;
    line.className = "said good";
    line.textContent = line.dataset.text;
  }

  document.addEventListener("kurol:live", (event) => {
    for (const call of [...(event.detail.running || []), ...(event.detail.finished || [])]) arrived(call);
  });
}
