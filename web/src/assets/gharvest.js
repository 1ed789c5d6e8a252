// gharvest: everything works without this script; with it, typing is completed, keys move, and pages follow changes.
"use strict";
(() => {
  const box = document.querySelector("[data-search]");
  const typing = (target) => target.matches("input, textarea, select, [contenteditable]");

  // Keys: / to the box, j and k through the list, Enter opens.
  let current = -1;
  const entries = () => [...document.querySelectorAll("[data-list] > li, [data-list] [data-item]")];
  const move = (step) => {
    const all = entries();
    if (!all.length) return false;
    current = Math.max(0, Math.min(all.length - 1, current + step));
    all.forEach((entry, at) => entry.classList.toggle("current", at === current));
    const target = all[current].querySelector("[data-open]") || all[current];
    if (target === all[current]) target.tabIndex = -1;
    target.focus({ preventScroll: true });
    all[current].scrollIntoView({ block: "nearest" });
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const inList = event.target.closest && event.target.closest("[data-list]");
    if (event.key === "/") { box.focus(); box.select(); event.preventDefault(); }
    else if (event.key === "j" || (event.key === "ArrowDown" && inList && current >= 0)) { if (move(1)) event.preventDefault(); }
    else if (event.key === "k" || (event.key === "ArrowUp" && inList && current >= 0)) { if (move(-1)) event.preventDefault(); }
  });

  // Suggestions: a combobox over /api/v1/suggest.
  const list = document.createElement("ul");
  list.id = "suggestions";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  box.after(list);
  box.setAttribute("role", "combobox");
  box.setAttribute("aria-expanded", "false");
  box.setAttribute("aria-controls", list.id);
  box.setAttribute("aria-autocomplete", "list");
  let offered = [], chosen = -1, asked = 0, timer = 0;
  const close = () => { list.hidden = true; chosen = -1; box.setAttribute("aria-expanded", "false"); box.removeAttribute("aria-activedescendant"); };
  const mark = (at) => {
    chosen = at;
    [...list.children].forEach((entry, place) => entry.setAttribute("aria-selected", place === at));
    if (at >= 0) { box.setAttribute("aria-activedescendant", list.children[at].id); list.children[at].scrollIntoView({ block: "nearest" }); }
    else box.removeAttribute("aria-activedescendant");
  };
  const take = (offer) => {
    if (offer.url) { location.href = offer.url; return; }
    box.value = offer.query + box.value.slice(box.selectionStart).trimStart();
    box.setSelectionRange(offer.query.length, offer.query.length);
    box.focus();
    ask();
  };
  const show = (suggestions) => {
    offered = suggestions;
    list.replaceChildren(...suggestions.map((offer, at) => {
      const entry = document.createElement("li");
      entry.id = "suggestion-" + at;
      entry.setAttribute("role", "option");
      entry.setAttribute("aria-selected", "false");
      for (const [name, text] of [["kind", offer.kind], ["value", offer.value], ["detail", offer.detail || ""]]) {
        const part = document.createElement(name === "value" ? "bdi" : "span");
        part.className = name;
        part.textContent = text;
        entry.append(part);
      }
      entry.addEventListener("mousedown", (event) => { event.preventDefault(); take(offer); });
      return entry;
    }));
    chosen = -1;
    list.hidden = !suggestions.length || document.activeElement !== box;
    box.setAttribute("aria-expanded", String(!list.hidden));
  };
  const ask = async () => {
    const turn = ++asked;
    try {
      const typed = box.value.slice(0, box.selectionStart);
      const answer = await fetch("/api/v1/suggest?" + new URLSearchParams({ q: typed }));
      if (answer.ok && turn === asked) show((await answer.json()).suggestions);
    } catch { close(); }
  };
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 60); });
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { if (list.hidden) box.blur(); else close(); event.preventDefault(); }
    else if (event.key === "ArrowDown" && !list.hidden) { mark((chosen + 1) % offered.length); event.preventDefault(); }
    else if (event.key === "ArrowUp" && !list.hidden) { mark(chosen <= 0 ? offered.length - 1 : chosen - 1); event.preventDefault(); }
    else if (event.key === "ArrowDown") { ask(); }
    else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) { take(offered[chosen]); event.preventDefault(); }
  });

  // Live: the page is fetched again when something on it changed, at most every two seconds, and only while it is seen.
  const follows = document.body.dataset.live;
  if (!follows || !window.EventSource || new URLSearchParams(location.search).get("at")) return;
  const concerns = (change) =>
    follows === "home" || follows === "status" ||
    (follows === "search" ? document.querySelector("a[data-open][href='" + CSS.escape(change.url) + "']") !== null
      : follows.endsWith("#") ? change.item.startsWith(follows) : change.item === follows);
  let waiting = 0;
  const refresh = async () => {
    waiting = 0;
    if (document.hidden) { document.addEventListener("visibilitychange", refresh, { once: true }); return; }
    const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
    if (!answer || !answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const ours = document.querySelector("main"), theirs = fresh.querySelector("main");
    if (!theirs || (ours.contains(document.activeElement) && typing(document.activeElement))) return;
    const open = new Set([...ours.querySelectorAll("details")].map((details, at) => details.open ? at : -1));
    const focused = ours.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    theirs.querySelectorAll("details").forEach((details, at) => { if (open.has(at)) details.open = true; });
    ours.replaceChildren(...theirs.childNodes);
    if (focused) { const again = ours.querySelector("a[href='" + CSS.escape(focused) + "']"); if (again) again.focus({ preventScroll: true }); }
  };
  // Queues move without any thread changing.
  if (follows === "status") setInterval(() => { if (!document.hidden && !waiting) waiting = setTimeout(refresh, 0); }, 5000);
  const source = new EventSource("/events");
  source.addEventListener("change", (event) => {
    if (!waiting && concerns(JSON.parse(event.data))) waiting = setTimeout(refresh, 2000);
  });
  source.addEventListener("open", () => { document.body.dataset.connected = "true"; });
  source.addEventListener("error", () => { delete document.body.dataset.connected; });
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
