/* The Explore tab: a map of clips on a canvas, its legend, filters, selection and table. */
import { choices, el, onTheme, percent, plural } from "./core.js";
import { mapAddress } from "./explore_address.js";
import { clipLoader } from "./explore_clips.js";
import { paintPoints } from "./explore_colours.js";
import { mapFilters, narrowed, noFilters } from "./explore_filters.js";
import { mapLegend } from "./explore_legend.js";
import { drawMeasures } from "./explore_measures.js";
import { addHooks, emptyMap, mapPlacing, mapPoints } from "./explore_place.js";
import { aboutPoint, mapListening } from "./explore_listen.js";
import { listen } from "./explore_pointer.js";
import { showNeighbours } from "./explore_neighbours.js";
import { selectionPanel } from "./explore_selection.js";
import { mapStar } from "./explore_star.js";
import { mapStudents } from "./explore_students.js";
import { mapTools, zoomButtons } from "./explore_tools.js";
import { pointMap } from "./map.js";
import { deselect, selection } from "./selection.js";
import { startAudio } from "./sound.js";

const MAP_COLOURS = [["class", "Predicted class"], ["target", "Target class"], ["recipe", "Recipe"], ["origin", "Real or made"], ["confidence", "Confidence"], ["student", "Student"]];
const MAP_CONTROLS = [
  ["colour", "Colour", MAP_COLOURS],
  ["projection", "Projection", [["umap", "UMAP"], ["pca", "PCA"]]],
  ["view", "View", [["together", "Together"], ["apart", "Side by side"]]],
];

frami.explore = (element, props, server, watch) => {
  const root = element.querySelector(".frami-explore");
  /* What is shown. points: { id, row, layer, label, predicted, confidence, x, y, colour, faint }, byId: the same by id; chosen,
     hovered: one of them (its id, itself); isolated: the groups of the legend that are shown alone; selected: ids; details: of
     clips, as the server sent them; star: the visitor's own sound; bounds: the part of the projection that fills a panel;
     version: changes with all that is drawn of points; picked, hues, open, query: of many classes (see explore_colours.js) */
  const s = {
    value: { classes: [], layers: [] }, points: [], sorted: [], groups: [], byId: new Map(), chosen: null, hovered: null, isolated: new Set(),
    selected: new Set(), details: new Map(), star: null, bounds: null, moving: false, version: 0, lasso: null, filters: noFilters(),
    picked: [], hues: new Map(), open: null, query: "",
    choice: { colour: "class", projection: "umap", view: "together", density: false },
  };
  let poll = 0, begun = false;

  // ---- the page's parts
  const controls = el("div", "controls"), stage = el("div", "stage"), canvas = el("canvas"), tip = el("div", "tip"), zoom = zoomButtons(factor => map.magnify(factor));
  const status = el("p", "status"), spoken = el("p", "frami-spoken"), table = el("div", "measures"), rows = new Map();
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  spoken.setAttribute("aria-live", "polite");
  status.setAttribute("role", "status");
  tip.hidden = true;
  function drawControl(name, options) {
    choices(rows.get(name), name, options, s.choice[name], key => {
      s.choice[name] = key;
      if (name === "colour") Object.assign(s, { isolated: new Set(), open: null });
      if (name === "projection") placing.place(true);
      refresh(true);
      students.ask();
    });
  }
  for (const [name, label, options] of MAP_CONTROLS) {
    const box = el("fieldset", name), row = el("div", "segments");
    rows.set(name, row);
    drawControl(name, options);
    box.append(el("legend", "", label), row);
    controls.append(box);
  }
  stage.append(canvas, tip, zoom);
  root.append(controls, stage, status, spoken, table);
  const map = pointMap(root, stage, canvas, s), clips = clipLoader(s, server);
  const students = mapStudents(s, server, clips.ask, () => refresh());
  const legend = mapLegend(s, root, isolate, refresh);
  const tools = mapTools(s, stage, () => { s.version++; map.draw(); address.keep(); });
  const filters = mapFilters(s, { renew: refresh, reset: showAll, selectShown: () => choosePoints(s.points.filter(p => !p.faint)) });
  const several = selectionPanel(s, server, clips, { show: map.show, clear: () => choosePoints([]), draws: () => map.draw(), most: props.downloads || 200 });
  const { choose, hover, rest } = mapListening(s, root, map, clips, { playing: tools.playing, several: () => several, status, spoken });
  const star = mapStar(s, server, { ask: clips.ask, draw: map.draw, say: words => { status.textContent = words; }, choose });
  const placing = mapPlacing(s, root, map, star);
  const empty = emptyMap(s, showAll);
  const address = mapAddress(s, root, MAP_CONTROLS, students, () => { drawChoices(); placing.place(true); refresh(); students.ask(); });
  tip.before(empty.box);
  stage.before(tools.box, filters.box);
  stage.after(filters.line, ...legend.boxes, several.box, star.box);

  showNeighbours(s, choose, hover);
  listen(canvas, tip, stage, s, { map, about: p => aboutPoint(s, p), choose, hover, rest, showAll: escape, lassoing: () => tools.lasso(), lasso: points => choosePoints(points) });

  // ---- several clips
  function choosePoints(points) {
    s.selected = new Set(points.map(p => p.id));
    s.version++;
    if (points.length) tools.lasso(false);
    several.draw();
    map.draw();
    root.dataset.several = s.selected.size;
  }
  function showAll() {
    Object.assign(s, { isolated: new Set(), open: null, query: "", filters: { ...noFilters(), rest: s.filters.rest } });
    refresh();
  }
  /* Escape takes back one thing after the other: the lasso, what narrows the map, the selection, the chosen clip. */
  function escape() {
    if (tools.lasso()) tools.lasso(false);
    else if (narrowed(s)) showAll();
    else if (s.selected.size) choosePoints([]);
    else if (s.chosen) {
      s.chosen = null;
      delete root.dataset.selected;
      deselect();
      map.draw();
    }
  }

  // ---- values that arrive, and what is still computed
  const drawChoices = () => { MAP_CONTROLS.forEach(([name, , options]) => drawControl(name, name === "colour" ? offered() : options)); tools.draw(); };
  /* Show a group of the legend alone, others with it, and all again; a category opens into its classes. */
  function isolate(i, group) {
    if (group.category !== undefined && s.open === null) s.open = group.category;
    else if (!s.isolated.delete(i)) s.isolated.add(i);
    refresh();
  }
  function refresh(step) {
    paintPoints(s, root);
    legend.draw();
    filters.draw();
    say();
    empty.draw();
    map.draw();
    address.keep(step);
  }
  function say() {
    const { share = [0, 0], umap, pending, trouble } = s.value, pca = root.dataset.projection === "pca";
    const words = [!s.points.length ? `Nothing to show: tick a recipe above. Where there is none: ${s.value.making || "choose a teacher"}`
      : pca ? `PCA${s.choice.projection === "umap" ? " for now" : ""}: the two directions in which the clips differ most (${percent(share[0] + share[1])} of all variance).`
      : "UMAP: neighbours stay neighbours; distances between far groups mean little."];
    if (pending) words.push(pending);
    else if (s.points.length && !umap) words.push(pending === null ? "UMAP could not be computed." : "UMAP is being computed…");
    if (trouble) words.push(`The recordings cannot be shown: ${trouble}`);
    status.textContent = words.join(" ");
    root.dataset.pending = pending ? "yes" : pending === null ? "no" : "ask";
  }
  /* Colours that say something of these layers: real or made only where there are both. */
  const offered = () => MAP_COLOURS.filter(([key]) => key !== "origin" || new Set(s.value.layers.map(layer => Boolean(layer.real))).size > 1);
  function offerColours() {
    if (s.points.length && !offered().some(([key]) => key === s.choice.colour)) Object.assign(s, { isolated: new Set(), choice: { ...s.choice, colour: "class" } });
    drawChoices();
  }
  function show(next, arrived) {
    const old = s.byId, other = s.value.teacher !== next.teacher, before = s.value.layers, alone = address.alone();
    s.value = { classes: [], layers: [], ...next };
    s.details.clear();
    if (other) { clips.forget(); students.forget(); s.bounds = null; }
    const changed = String(before.map(one => one.prefix)) !== String(s.value.layers.map(one => one.prefix));
    if (changed && !other) address.isolate(alone);      // groups of layers are counted by their place
    s.points = mapPoints(s.value.layers, old);
    s.byId = new Map(s.points.map(p => [p.id, p]));
    if (s.star) s.byId.set(s.star.id, s.star);
    s.selected = new Set([...s.selected].filter(id => s.byId.has(id)));
    if (other || (!begun && s.points.length)) { address.take(); begun = s.points.length > 0; }
    offerColours();
    root.dataset.points = s.points.length;
    root.dataset.teacher = s.value.teacher || "";
    canvas.setAttribute("aria-label", `Feature map of ${plural(s.points.length, "clip")}. Arrow keys walk to the nearest clip and play it, Enter plays it again, Escape takes back what is selected.`);
    if (s.chosen && !s.byId.has(s.chosen)) {
      s.chosen = null;
      delete root.dataset.selected;
      if (selection.clip?.id.startsWith("explore/")) deselect();
    }
    s.hovered = null;
    tip.hidden = true;
    paintPoints(s, root);
    placing.place(old.size && !other);
    drawMeasures(table, props.columns || [], s.value.table);
    refresh();
    several.draw();
    students.ask();
    if (other || changed) star.renew(other);
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
  addHooks(root, s, map);
  show(props.value || {}, true);
};
