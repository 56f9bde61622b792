/* The Explore tab: a map of clips on a canvas, its legend and table. */
import { button, choices, el, onTheme, percent } from "./core.js";
import { clipLoader } from "./explore_clips.js";
import { paintPoints, startClasses } from "./explore_colours.js";
import { mapLegend } from "./explore_legend.js";
import { drawMeasures } from "./explore_measures.js";
import { listen } from "./explore_pointer.js";
import { showNeighbours } from "./explore_neighbours.js";
import { pointMap } from "./map.js";
import { deselect, select, selection } from "./selection.js";
import { player, startAudio } from "./sound.js";

const CONTROLS = [
  ["colour", "Colour", [["class", "Class"], ["recipe", "Recipe"], ["origin", "Real or made"], ["confidence", "Confidence"]]],
  ["projection", "Projection", [["umap", "UMAP"], ["pca", "PCA"]]],
  ["view", "View", [["together", "Together"], ["apart", "Side by side"]]],
];

frami.explore = (element, props, server, watch) => {
  const root = element.querySelector(".frami-explore");
  /* What is shown. points: { id, layer, label, predicted, confidence, x, y, colour, faint }; chosen, hovered: one of them
     (its id, itself); isolated: the group of the legend that is shown alone; details: of clips, as the server sent them;
     picked, hues, open, query: of many classes (see explore_colours.js) */
  const s = {
    value: { classes: [], layers: [] }, points: [], chosen: null, hovered: null, isolated: null, details: new Map(),
    picked: [], hues: new Map(), open: null, query: "",
    choice: { colour: "class", projection: "umap", view: "together" },
  };
  let moving = 0, poll = 0, silent = false, walk = 0, begun = false;

  // ---- the page's parts
  const controls = el("div", "controls"), stage = el("div", "stage"), canvas = el("canvas"), tip = el("div", "tip"), zoom = el("div", "zoom");
  const status = el("p", "status"), spoken = el("p", "frami-spoken"), table = el("div", "measures");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  spoken.setAttribute("aria-live", "polite");
  status.setAttribute("role", "status");
  tip.hidden = true;
  for (const [name, label, options] of CONTROLS) {
    const box = el("fieldset"), row = el("div", "segments");
    choices(row, name, options, s.choice[name], key => {
      s.choice[name] = key;
      s.isolated = null;
      if (name === "projection") place(true);
      refresh();
    });
    box.append(el("legend", "", label), row);
    controls.append(box);
  }
  for (const [sign, words, factor] of [["+", "Zoom in", 1.5], ["−", "Zoom out", 1 / 1.5], ["⤢", "Show all", 0]]) {
    zoom.append(button("", sign, () => map.magnify(factor), words));
    zoom.lastChild.title = words;
  }
  stage.append(canvas, tip, zoom);
  root.append(controls, stage, status, spoken, table);
  const map = pointMap(root, stage, canvas, s), clips = clipLoader(s, server);
  const legend = mapLegend(s, root, isolate, refresh);
  stage.after(...legend.boxes);

  // ---- selecting a clip: its sound and detail together
  const about = p => {
    const name = s.value.classes[p.label];
    return p.label === p.predicted ? `${name}, confidence ${percent(p.confidence)}` : `${name}, classified as ${s.value.classes[p.predicted]}`;
  };
  async function choose(id) {
    const own = ++walk, p = s.points.find(point => point.id === id);
    if (!p) return;
    silent = true;
    s.chosen = root.dataset.selected = id;
    spoken.textContent = `${about(p)}. ${p.layer.title}.`;
    map.draw();
    try {
      clips.fetchSound(id);
      const found = await clips.detail(id);
      if (own !== walk) return;
      await select(found.clip, s.value.axis, clips.server);
      map.draw();
      const next = [...["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].map(key => map.toward(p, key)?.id), ...found.near.map(near => near.id)];
      for (const other of new Set(next.filter(Boolean))) {
        if (own !== walk) return;
        await clips.ahead(other);    // oxlint-disable-line no-await-in-loop -- one after the other, so that a click goes first
      }
    } catch (error) { status.textContent = error.message || String(error); }
  }
  player.addEventListener("playing", () => {
    if (!silent || player.dataset.clip !== s.chosen) return;
    root.dataset.sounded = s.chosen;
    silent = false;
  });
  const hover = p => { s.hovered = p; map.draw(); };
  showNeighbours(s, choose, hover);
  listen(canvas, tip, stage, s, { map, about, choose, hover, ahead: clips.ahead, showAll: () => { Object.assign(s, { isolated: null, open: null, query: "" }); refresh(); } });

  // ---- where points lie: x and y in the projection, moving there from where they were
  function place(smoothly) {
    const name = s.choice.projection === "umap" && s.value.umap ? "umap" : "pca", xy = s.value[name] || [];
    root.dataset.projection = name;
    cancelAnimationFrame(moving);
    s.points.forEach((p, i) => { p.from = [p.x ?? xy[2 * i], p.y ?? xy[2 * i + 1]]; p.to = [xy[2 * i], xy[2 * i + 1]]; });
    const quick = !smoothly || matchMedia("(prefers-reduced-motion: reduce)").matches, start = performance.now();
    map.fit();
    const step = now => {
      const t = quick ? 1 : Math.min(1, (now - start) / 450), ease = 1 - (1 - t) ** 3;
      s.points.forEach(p => { p.x = p.from[0] + ease * (p.to[0] - p.from[0]); p.y = p.from[1] + ease * (p.to[1] - p.from[1]); });
      map.draw();
      if (t < 1) moving = requestAnimationFrame(step);
    };
    step(start);
  }

  // ---- values that arrive, and what is still computed
  /* Show a group of the legend alone, and all again; a category opens into its classes. */
  function isolate(i, group) {
    if (group.category !== undefined && s.open === null) s.open = group.category;
    else s.isolated = s.isolated === i ? null : i;
    refresh();
  }
  function refresh() {
    paintPoints(s, root);
    legend.draw();
    say();
    map.draw();
  }
  function say() {
    const { share = [0, 0], umap, pending, trouble } = s.value, pca = root.dataset.projection === "pca";
    const words = [!s.points.length ? `Nothing to show: tick a layer above. Where there is none: ${s.value.making || "choose a teacher"}`
      : pca ? `PCA${s.choice.projection === "umap" ? " for now" : ""}: the two directions in which the clips differ most (${percent(share[0] + share[1])} of all variance).`
      : "UMAP: neighbours stay neighbours; distances between far groups mean little."];
    if (pending) words.push(pending);
    else if (s.points.length && !umap) words.push(pending === null ? "UMAP could not be computed." : "UMAP is being computed…");
    if (trouble) words.push(`The recordings cannot be shown: ${trouble}`);
    status.textContent = words.join(" ");
    root.dataset.pending = pending ? "yes" : pending === null ? "no" : "ask";
  }
  function show(next, arrived) {
    const old = new Map(s.points.map(p => [p.id, p])), other = s.value.teacher !== next.teacher, before = s.value.layers;
    s.value = { classes: [], layers: [], ...next };
    s.details.clear();
    if (other) clips.forget();
    // groups of layers are counted by their place: another layer would be shown alone
    if (other || (s.choice.colour !== "class" && String(before.map(one => one.prefix)) !== String(s.value.layers.map(one => one.prefix)))) s.isolated = null;
    s.points = s.value.layers.flatMap(layer => layer.labels.map((label, i) => {
      const id = `${layer.prefix}/${i}`, { x, y } = old.get(id) || {};
      return { id, layer, label, predicted: layer.predicted[i], confidence: layer.confidence[i], x, y };
    }));
    if (other || (!begun && s.points.length)) { startClasses(s); begun = s.points.length > 0; }
    root.dataset.points = s.points.length;
    root.dataset.teacher = s.value.teacher || "";
    canvas.setAttribute("aria-label", `Feature map of ${s.points.length} clips. Arrow keys walk to the nearest clip and play it, Enter plays it again.`);
    if (s.chosen && !s.points.some(p => p.id === s.chosen)) {
      s.chosen = null;
      delete root.dataset.selected;
      if (selection.clip?.id.startsWith("explore/")) deselect();
    }
    s.hovered = null;
    tip.hidden = true;
    place(old.size && !other);
    drawMeasures(table, props.columns || [], s.value.table);
    refresh();
    if (arrived) { clearTimeout(poll); poll = setTimeout(fetchMore, 30); }
  }
  /* Fetches what has become ready, as long as the map is in sight and something is missing. */
  async function fetchMore() {
    clearTimeout(poll);
    const mine = s.value.stamp;
    if (!s.value.teacher || s.value.pending === null) return;
    if (root.offsetParent) {
      try {
        const reply = await server.more(clips.ask({ stamp: mine }));
        if (s.value.stamp !== mine) return;
        if (reply?.layers) show(reply, false);
        else if (reply && !reply.error) { s.value.pending = reply.pending; say(); }
      } catch { /* the connection is gone: the next tick tries again */ }
    }
    if (s.value.pending !== null) poll = setTimeout(fetchMore, 900);
  }
  watch("value", () => show(props.value || {}, true));
  new ResizeObserver(map.draw).observe(stage);
  onTheme(() => { if (s.points.length) refresh(); });
  startAudio();
  root.where = map.where;
  root.looks = id => { const { colour, faint, plain } = s.points.find(p => p.id === id); return { colour, faint, plain }; };
  root.ids = () => s.points.map(p => p.id);
  show(props.value || {}, true);
};
