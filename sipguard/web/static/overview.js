// The overview, as things happen: a word from the server that something is new, and the page is asked for
// again. What the answer has changed is changed here, piece by piece, so that what a reader opened,
// marked or reached by the keyboard stays. The server escapes all text; no text is read as HTML here.
"use strict";
(() => {
  const state = document.getElementById("live");
  const page = document.getElementById("overview");
  let isAsking = false;
  let isLate = false;

  const say = (text) => { if (state.textContent !== text) { state.textContent = text; } };
  const isSame = (mine, now) => mine.nodeType === now.nodeType && mine.nodeName === now.nodeName && mine.id === now.id;
  const become = (mine, now) => {
    if (mine.nodeType !== Node.ELEMENT_NODE) {
      if (mine.data !== now.data) { mine.data = now.data; }
      return;
    }
    for (const name of mine.getAttributeNames()) {
      if (name !== "open" && !now.hasAttribute(name)) { mine.removeAttribute(name); }
    }
    for (const name of now.getAttributeNames()) {
      if (mine.getAttribute(name) !== now.getAttribute(name)) { mine.setAttribute(name, now.getAttribute(name)); }
    }
    Array.from(now.childNodes).forEach((child, n) => {
      const old = mine.childNodes[n];
      if (!old) { mine.append(document.importNode(child, true)); }
      else if (isSame(old, child)) { become(old, child); }
      else { old.replaceWith(document.importNode(child, true)); }
    });
    while (mine.childNodes.length > now.childNodes.length) { mine.lastChild.remove(); }
  };

  const ask = () => {
    if (isAsking || document.hidden) { isLate = true; return; }
    isAsking = true;
    isLate = false;
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.open("GET", state.dataset.here);
    request.timeout = 20000;
    request.onloadend = () => {
      isAsking = false;
      const now = request.response ? request.response.getElementById("overview") : null;
      if (now) { become(page, now); say("Live: this page follows what happens."); }
      else if (request.responseURL.includes("/login")) { say("Logged out. Reload to log in again."); }
      else { say("The latest numbers could not be read; trying again."); }
    };
    request.send();
  };

  const source = new EventSource(state.dataset.events);
  source.onopen = () => say("Live: this page follows what happens.");
  source.onerror = () => say("The connection is lost; trying again.");
  source.addEventListener("over", () => { source.close(); say("Logged out. Reload to log in again."); });
  source.addEventListener("changed", () => setTimeout(ask, Math.random() * 1000));
  document.addEventListener("visibilitychange", () => { if (isLate) { ask(); } });
})();
