// The search box of the models: what was loaded is searched at once, without a request.
"use strict";

{
  const field = document.querySelector("[data-filter]");
  const rows = field ? [...document.querySelectorAll(`#${field.dataset.filter} tbody tr`)] : [];
  const shown = document.getElementById("shown");
  const none = document.getElementById("models-none");

  function search() {
    const words = field.value.toLowerCase().split(/\s+/);
    let count = 0;
    for (const row of rows) {
      const names = row.dataset.names.toLowerCase();
      row.hidden = !words.every((word) => names.includes(word));
      if (!row.hidden) count += 1;
    }
    none.hidden = count > 0;
    shown.textContent = count === rows.length ? count : `${count} ${shown.dataset.of} ${rows.length}`;
  }

  // A list that the server has searched already holds too little to go on with.
  if (field && !field.value) field.addEventListener("input", search);
}
