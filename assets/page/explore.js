/* The Explore tab: a map of clips on a canvas. Values come from Python as JSON; text goes in by textContent only. */
frami.explore = (element, props, server, watch) => {
  "use strict";
  const { el, percent } = frami, root = element.querySelector(".frami-explore");
  const LIGHT = ["#3b62c9", "#c77700", "#d63f3f", "#148573", "#4a8a1f", "#c93e8f", "#7d46c4", "#1187bd", "#8a5a3b", "#6b7280"];
  const DARK = ["#86a5ff", "#f5b53d", "#ff7d70", "#4cd3b8", "#97d65c", "#ff8ac8", "#bd93fa", "#67c8f7", "#d2a37f", "#aab2bf"];
  const kept = new Map(), pending = new Map(), sounds = new Map();
  const choice = { colour: "class", projection: "umap", view: "together" };
  const s = { points: [], value: { classes: [], layers: [] }, choice, chosen: null, hovered: null, kept };
  let isolated = null, moving = 0, poll = 0, began = 0, dwell = 0, walk = 0;

  // ---- the page's parts
  const controls = el("div", "controls"), stage = el("div", "stage"), canvas = el("canvas"), tip = el("div", "tip");
  const status = el("p", "status"), legend = el("div", "legend"), said = el("p", "frami-spoken"), table = el("div", "measures");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  said.setAttribute("aria-live", "polite");
  status.setAttribute("role", "status");
  tip.hidden = true;
  const buttons = el("div", "zoom");
  for (const [sign, words, factor] of [["+", "Zoom in", 1.5], ["−", "Zoom out", 1 / 1.5], ["⤢", "Show all", 0]]) {
    const button = el("button", "", sign);
    button.type = "button";
    button.title = words;
    button.setAttribute("aria-label", words);
    button.addEventListener("click", () => map.magnify(factor));
    buttons.append(button);
  }
  const segments = (name, label, options) => {
    const box = el("fieldset"), title = el("legend", "", label), row = el("div", "segments");
    box.dataset.name = name;
    for (const [key, words] of options) {
      const cell = el("label"), input = el("input");
      Object.assign(input, { type: "radio", name: `frami-${name}`, value: key, checked: choice[name] === key });
      input.addEventListener("change", () => { choice[name] = key; isolated = null; name === "projection" ? place(true) : 0; refresh(); });
      cell.append(input, el("span", "", words));
      row.append(cell);
    }
    box.append(title, row);
    controls.append(box);
  };
  segments("colour", "Colour", [["class", "Class"], ["recipe", "Recipe"], ["origin", "Real or made"], ["sure", "Confidence"]]);
  segments("projection", "Projection", [["umap", "UMAP"], ["pca", "PCA"]]);
  segments("view", "View", [["together", "Together"], ["apart", "Side by side"]]);
  stage.append(canvas, tip, buttons);
  root.append(controls, stage, legend, status, said, table);
  const map = frami.map(root, stage, canvas, s), { draw, under, toward, magnify } = map;

  // ---- colours and groups
  const dark = () => !!document.querySelector(".dark");
  const many = (i, n) => n <= 10 ? (dark() ? DARK : LIGHT)[i % 10] : `hsl(${(i * 137.5) % 360} 62% ${dark() ? 68 : 42}%)`;
  const ramp = share => {
    const c = frami.magma[Math.round(dark() ? 90 + 150 * share : 205 - 165 * share)];
    return `rgb(${c & 255} ${c >> 8 & 255} ${c >> 16 & 255})`;
  };
  function groups() {
    const made = s.value.layers.filter(l => !l.real), grey = map.css("--frami-real");
    if (choice.colour === "class") return s.value.classes.map((name, i) => ({ name, colour: many(i, s.value.classes.length), of: p => p.label === i }));
    if (choice.colour === "recipe") return s.value.layers.map(layer => ({ name: layer.title, real: layer.real, colour: layer.real ? grey : many([2, 0, 1, 3, 4, 5, 6, 7, 8, 9][made.indexOf(layer) % 10], 1), of: p => p.layer === layer }));
    if (choice.colour === "origin") return [{ name: "made", colour: many(2, 1), of: p => !p.layer.real }, ...s.value.layers.filter(l => l.real).map(() => ({ name: "real", real: true, colour: many(0, 1), of: p => p.layer.real }))];
    return [];
  }
  function paintPoints() {
    const all = groups();
    s.points.forEach(p => {
      p.colour = choice.colour === "sure" ? ramp(p.sure) : (all.find(g => g.of(p)) || {}).colour;
      p.faint = isolated !== null && all[isolated] && !all[isolated].of(p);
    });
    legend.replaceChildren();
    if (choice.colour === "sure") {
      const bar = el("span", "ramp");
      bar.style.background = `linear-gradient(to right, ${[0, .25, .5, .75, 1].map(ramp).join(",")})`;
      legend.append(el("span", "", "The teacher is 0 %"), bar, el("span", "", "100 % sure"));
    }
    all.forEach((group, i) => {
      const count = s.points.filter(group.of).length, button = el("button"), mark = el("i", group.real ? "hollow" : "");
      if (!count) return;
      button.type = "button";
      mark.style.color = group.colour;
      button.append(mark, el("span", "", group.name), el("small", "", String(count)));
      button.setAttribute("aria-pressed", String(isolated === i));
      button.title = isolated === i ? "Show all" : `Show only: ${group.name}`;
      button.addEventListener("click", () => { isolated = isolated === i ? null : i; refresh(); });
      legend.append(button);
    });
    if (s.value.layers.some(l => l.real) && s.value.layers.some(l => !l.real) && choice.colour !== "origin") {
      const key = el("span", "key"), full = el("i"), hollow = el("i", "hollow");
      key.append(full, "made", hollow, "real");
      legend.append(key);
    }
  }

  // ---- where points lie: x and y in the projection, then on the screen of each panel
  function place(smoothly) {
    const name = choice.projection === "umap" && s.value.umap ? "umap" : "pca", xy = s.value[name] || [];
    root.dataset.projection = name;
    cancelAnimationFrame(moving);
    s.points.forEach((p, i) => { p.from = [p.x ?? xy[2 * i], p.y ?? xy[2 * i + 1]]; p.to = [xy[2 * i], xy[2 * i + 1]]; });
    const quick = !smoothly || matchMedia("(prefers-reduced-motion: reduce)").matches, start = performance.now();
    map.fit();
    const step = now => {
      const t = quick ? 1 : Math.min(1, (now - start) / 450), ease = 1 - (1 - t) ** 3;
      s.points.forEach(p => { p.x = p.from[0] + ease * (p.to[0] - p.from[0]); p.y = p.from[1] + ease * (p.to[1] - p.from[1]); });
      draw();
      if (t < 1) moving = requestAnimationFrame(step);
    };
    step(start);
  }
  // ---- sound and detail: asked for together, ahead of time where the pointer rests or the arrows lead
  const ask = more => ({ teacher: s.value.teacher, keys: s.value.keys, ...more });
  const bounded = (map, key, promise) => {
    map.set(key, promise);
    if (map.size > 80) map.delete(map.keys().next().value);
    return promise;
  };
  const voice = { wav: id => sounds.get(id) || bounded(sounds, id, server.wav(id).then(reply => { if (!reply || reply.error) sounds.delete(id); return reply; }, error => { sounds.delete(id); throw error; })) };
  async function look(id) {
    if (kept.has(id)) return kept.get(id);
    if (!pending.has(id)) pending.set(id, server.clip(ask({ id })).finally(() => pending.delete(id)));
    const keys = s.value.stamp, found = await pending.get(id);
    if (!found || found.error) throw new Error(found ? found.error : "no answer from the server");
    return keys === s.value.stamp ? bounded(kept, id, found) : found;
  }
  const ahead = id => { look(id).catch(() => {}); return voice.wav(frami.voiced(id)).catch(() => {}); };
  async function choose(id, smooth) {
    const own = ++walk, p = s.points.find(point => point.id === id);
    if (!p) return;
    began = performance.now();
    s.chosen = id;
    root.dataset.selected = id;
    said.textContent = `${about(p)}. ${p.layer.title}.`;
    draw();
    try {
      voice.wav(frami.voiced(id)).catch(() => {});
      const found = await look(id);
      if (own !== walk) return;
      await frami.select(found.clip, s.value.axis, voice);
      draw();
      const next = [...["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].map(key => toward(p, key)?.id), ...found.near.map(n => n.id)];
      for (const other of new Set(next.filter(Boolean))) { if (own !== walk) return; await ahead(other); }
    } catch (error) { status.textContent = error.message || String(error); }
  }
  frami.player.addEventListener("playing", () => {
    if (!began || frami.player.dataset.clip !== s.chosen) return;
    root.dataset.delay = Math.round(performance.now() - began);
    root.dataset.sounded = s.chosen;
    began = 0;
  });
  const about = p => {
    const name = s.value.classes[p.label], predicted = s.value.classes[p.predicted];
    return p.label === p.predicted ? `${name}, ${percent(p.sure)} sure` : `${name}, heard as ${predicted}`;
  };
  frami.additions.push((panel, selected) => {
    const found = kept.get(selected.clip.id);
    let box = panel.querySelector(".near");
    if (!selected.clip.id.startsWith("explore/") || !found) { box?.remove(); return; }
    if (selected.clip.real) {
      const right = selected.clip.predicted === selected.clip.target;
      panel.querySelector(".title span").textContent = right ? `recorded; the teacher is ${percent(selected.clip.confidence)} sure` : `recorded; the teacher hears ${selected.clip.predicted}`;
    }
    if (box?.dataset.id === selected.clip.id) return;
    box?.remove();
    box = el("div", "near");
    box.dataset.id = selected.clip.id;
    box.append(el("h4", "", "Nearest, as the teacher hears them"));
    for (const near of found.near) {
      const button = el("button"), text = el("span"), layer = s.value.layers.find(l => l.key === near.layer);
      button.type = "button";
      button.append(el("canvas"), text);
      text.append(el("b", "", near.target), el("small", "", layer ? layer.title : near.layer));
      button.title = `Distance ${near.distance}`;
      frami.paint(button.firstChild, near, s.value.axis);
      button.addEventListener("click", () => choose(near.id));
      button.addEventListener("pointerenter", () => { s.hovered = s.points.find(p => p.id === near.id) || null; draw(); });
      button.addEventListener("pointerleave", () => { s.hovered = null; draw(); });
      box.append(button);
    }
    panel.insertBefore(box, panel.querySelector(".meta"));
  });

  // ---- pointer, wheel, keys. The page scrolls as ever: only pinching, Ctrl + wheel and dragging belong to the map.
  function hover(event) {
    const found = event && under(event), p = found ? found[0] : null;
    canvas.style.cursor = p ? "pointer" : held.size ? "grabbing" : "";
    if (p !== s.hovered) {
      s.hovered = p;
      draw();
      clearTimeout(dwell);
      if (p) dwell = setTimeout(() => ahead(p.id), 50);
    }
    tip.hidden = !p;
    if (!p) return;
    tip.replaceChildren(el("b", "", about(p)), el("span", "", p.layer.title));
    const x = p.sx + found[1].x, y = p.sy + found[1].y;
    tip.style.left = `${Math.min(Math.max(x, tip.offsetWidth / 2 + 4), stage.clientWidth - tip.offsetWidth / 2 - 4)}px`;
    tip.style.top = `${y < 70 ? y + 16 : y - tip.offsetHeight - 14}px`;
  }
  const held = new Map();
  let dragged = 0, spread = 0;
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    held.set(event.pointerId, event);
    dragged = spread = 0;
    const found = under(event);
    if (found) ahead(found[0].id);
  });
  canvas.addEventListener("pointermove", event => {
    const before = held.get(event.pointerId);
    if (!before) return hover(event);
    dragged += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    held.set(event.pointerId, event);
    if (held.size === 2) {
      const [a, b] = [...held.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (spread) magnify(now / spread, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
      spread = now;
    } else if (dragged > 6 && (event.pointerType === "mouse" || map.zoomed)) {
      canvas.setPointerCapture(event.pointerId);
      map.move(event.clientX - before.clientX, event.clientY - before.clientY);
      tip.hidden = true;
    }
  });
  canvas.addEventListener("pointerup", event => {
    const own = held.delete(event.pointerId), found = own && dragged < 7 && under(event);
    if (found) choose(found[0].id);
    hover(event.pointerType === "mouse" ? event : null);
  });
  for (const name of ["pointercancel", "pointerleave"]) canvas.addEventListener(name, event => { held.delete(event.pointerId); hover(null); });
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    magnify(Math.exp(-event.deltaY / 200), event.clientX, event.clientY);
  }, { passive: false });
  canvas.addEventListener("keydown", event => {
    const here = s.points.find(p => p.id === s.chosen);
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = here ? toward(here, event.key) : map.middle();
      if (next) choose(next.id);
    } else if ((event.key === "Enter" || event.key === " ") && here) { event.preventDefault(); choose(here.id); }
    else if (event.key === "Escape" && isolated !== null) { isolated = null; refresh(); }
    else if (["+", "=", "-", "0"].includes(event.key) && !event.ctrlKey && !event.metaKey) magnify({ "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 }[event.key]);
  });

  // ---- the table of measures
  function figures() {
    table.replaceChildren();
    const { rows, note } = s.value.table || {}, columns = props.columns || [];
    if (!rows?.length) return;
    const grid = el("table"), head = el("tr"), scroll = el("div", "scroll");
    const told = (share, x) => x === null || x === undefined ? "–" : share ? percent(x) : x >= 100 ? String(Math.round(x)) : x >= 10 ? x.toFixed(1) : x.toFixed(2);
    head.append(el("th", "", ""));
    for (const column of columns) {
      const cell = el("th");
      cell.scope = "col";
      cell.append(el("b", "", column.title), el("small", "", column.reading));
      head.append(cell);
    }
    grid.append(el("thead"), el("tbody"));
    grid.firstChild.append(head);
    for (const row of rows) {
      const line = el("tr", row.reference ? "reference" : ""), name = el("th");
      name.scope = "row";
      name.append(el("b", "", row.title), el("small", "", row.measures ? `${row.measures.samples} clips` : "measuring…"));
      line.append(name);
      for (const column of columns) {
        const cell = el("td"), measured = row.measures || { intervals: {} }, range = measured.intervals[column.name];
        cell.append(el("span", "", told(column.share, measured[column.name])));
        if (range) {
          const words = `${told(column.share, range[0])} to ${told(column.share, range[1])}`;
          cell.append(el("small", "", `[${told(column.share, range[0]).replace(" %", "")}, ${told(column.share, range[1]).replace(" %", "")}]`));
          cell.title = `95 % interval: ${words}`;
        }
        line.append(cell);
      }
      grid.lastChild.append(line);
    }
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "How rich the clips are");
    scroll.append(grid);
    table.append(el("h3", "", "How rich the clips are"), scroll, ...(note || []).map(words => el("p", "", words)));
  }

  // The first sound of a page starts the browser's audio, most of a second: a moment of silence does it ahead.
  function warm() {
    const bytes = new Uint8Array(44 + 2000), text = "RIFF\xf4\x07\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\xd0\x07\0\0";
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const silence = new Audio(URL.createObjectURL(new Blob([bytes], { type: "audio/wav" })));
    silence.play().catch(() => {});
  }

  // ---- values that arrive, and what is still at work
  function refresh() { paintPoints(); tell(); draw(); }
  function tell() {
    const share = (s.value.share || [0, 0]).reduce((a, b) => a + b), pca = root.dataset.projection === "pca";
    const words = !s.points.length ? ["Nothing to show: tick a layer above. The bundled maps are made with: frami gallery --explore"]
      : [pca ? `PCA: the two directions in which the clips differ most (${percent(share)} of all variance).` : "UMAP: neighbours stay neighbours; distances between far groups mean little."];
    if (pca && choice.projection === "umap") words[0] = words[0].replace("PCA:", "PCA for now:");
    if (s.value.pending) words.push(s.value.pending);
    else if (s.points.length && !s.value.umap) words.push(s.value.pending === null ? "UMAP could not be computed." : "UMAP is being computed…");
    if (s.value.trouble) words.push(`The recordings cannot be shown: ${s.value.trouble}`);
    status.textContent = words.join(" ");
    root.dataset.pending = s.value.pending ? "yes" : s.value.pending === null ? "no" : "ask";
  }
  function show(next, arrived) {
    const old = new Map(s.points.map(p => [p.id, p])), other = s.value.teacher !== next.teacher;
    s.value = { classes: [], layers: [], ...next };
    if (other) { kept.clear(); sounds.clear(); isolated = null; }
    else kept.clear();
    s.points = s.value.layers.flatMap(layer => layer.labels.map((label, i) => {
      const id = `${layer.prefix}/${i}`, was = old.get(id) || {};
      return { id, layer, label, predicted: layer.predicted[i], sure: layer.sure[i], x: was.x, y: was.y };
    }));
    root.dataset.points = s.points.length;
    root.dataset.teacher = s.value.teacher || "";
    canvas.setAttribute("aria-label", `Feature map of ${s.points.length} clips. Arrow keys walk to the nearest clip and play it, Enter plays it again.`);
    if (s.chosen && !s.points.some(p => p.id === s.chosen)) {
      s.chosen = null;
      delete root.dataset.selected;
      if (frami.selected?.clip.id.startsWith("explore/")) frami.clear();
    }
    s.hovered = null;
    tip.hidden = true;
    place(old.size && !other);
    figures();
    refresh();
    if (arrived) { clearTimeout(poll); poll = setTimeout(wait, 30); }
  }
  // asks what has become ready, as long as the map is in sight and something is missing
  async function wait() {
    clearTimeout(poll);
    const mine = s.value.stamp;
    if (!s.value.teacher || s.value.pending === null) return;
    if (root.offsetParent) {
      try {
        const reply = await server.more(ask({ stamp: mine }));
        if (s.value.stamp !== mine) return;
        if (reply && reply.layers) show(reply, false);
        else if (reply && !reply.error) { s.value.pending = reply.pending; tell(); }
      } catch { /* the connection is gone: the next tick tries again */ }
    }
    if (s.value.pending !== null) poll = setTimeout(wait, 900);
  }
  watch("value", () => show(props.value || {}, true));
  new ResizeObserver(draw).observe(stage);
  warm();
  new MutationObserver(() => { if (s.points.length) refresh(); }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  root.where = map.where;
  root.ids = () => s.points.map(p => p.id);
  show(props.value || {}, true);
};
