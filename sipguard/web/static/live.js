// New records, as they come. All text is set as text: nothing a caller wrote becomes an element.
"use strict";
(() => {
  const state = document.getElementById("live");
  const rows = document.getElementById("rows");
  const row = document.getElementById("row");
  const pause = document.getElementById("pause");
  const most = 200;
  let waiting = [];
  let paused = false;

  const say = (text) => { state.textContent = text; };
  const show = (told) => {
    const made = row.content.cloneNode(true);
    for (const cell of made.querySelectorAll("[data-of]")) {
      cell.textContent = told[cell.dataset.of] || (cell.dataset.of === "caller" ? "–" : "");
    }
    made.querySelector(".badge").classList.add(told.kind);
    const link = made.querySelector("a");
    link.href = "/call/" + encodeURIComponent(told.id);
    link.setAttribute("aria-label", "Explain " + told.id);
    for (const old of rows.querySelectorAll("a")) {
      if (old.textContent === told.id) { old.closest("tr").remove(); }
    }
    rows.prepend(made);
    while (rows.children.length > most) { rows.lastElementChild.remove(); }
    const empty = document.getElementById("rows-empty");
    if (empty) { empty.remove(); }
  };
  const now = () => new Date().toISOString().slice(11, 19);

  const source = new EventSource(state.dataset.events);
  source.onopen = () => say("Live: new records appear at the top.");
  source.onerror = () => say("The connection is lost; trying again.");
  source.addEventListener("over", () => { source.close(); say("Logged out. Reload to log in again."); });
  source.addEventListener("record", (event) => {
    const told = JSON.parse(event.data);
    if (paused) {
      waiting = waiting.filter((other) => other.id !== told.id).concat([told]).slice(-most);
      say("Paused; " + waiting.length + " waiting.");
      return;
    }
    show(told);
    say("Live: the last one came at " + now() + " UTC.");
  });
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) { waiting.forEach(show); waiting = []; say("Live: new records appear at the top."); }
  });
})();
