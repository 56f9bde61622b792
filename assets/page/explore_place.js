/* Where the points of a map lie, moving there from where they were; what it says when none is to be seen. */
import { button, el } from "./core.js";
import { pointBounds } from "./map.js";

/* The points of these layers, where they were in `old`, the points before by id. */
export const mapPoints = (layers, old) => layers.flatMap(layer => {
  const soundless = new Set(layer.soundless);
  return layer.labels.map((label, i) => {
    const id = `${layer.prefix}/${i}`, { x, y } = old.get(id) || {};
    return { id, row: i, layer, label, predicted: layer.predicted[i], confidence: layer.confidence[i], soundless: soundless.has(i), x, y };
  });
});
export function mapPlacing(s, root, map, star) {
  let moving = 0;
  /* x and y of each point in the chosen projection. */
  function place(smoothly) {
    const name = s.choice.projection === "umap" && s.value.umap ? "umap" : "pca", xy = s.value[name] || [];
    const same = root.dataset.projection === name && smoothly, from = s.bounds;
    root.dataset.projection = name;
    cancelAnimationFrame(moving);
    s.points.forEach((p, i) => { p.from = [p.x ?? xy[2 * i], p.y ?? xy[2 * i + 1]]; p.to = [xy[2 * i], xy[2 * i + 1]]; });
    const goal = s.value.frame?.[name] || pointBounds(s.points.map(p => ({ x: p.to[0], y: p.to[1] })));
    const still = s.points.every(p => p.from[0] === p.to[0] && p.from[1] === p.to[1]);
    const quick = !smoothly || still || matchMedia("(prefers-reduced-motion: reduce)").matches, start = performance.now();
    if (!same || !still) map.fit();
    star.place();
    const step = now => {
      const t = quick ? 1 : Math.min(1, (now - start) / 450), ease = 1 - (1 - t) ** 3, at = (a, b) => ease === 1 ? b : a + ease * (b - a);
      s.points.forEach(p => { p.x = at(p.from[0], p.to[0]); p.y = at(p.from[1], p.to[1]); });
      s.bounds = s.points.length ? goal.map((end, k) => at(from?.[k] ?? end, end)) : null;
      s.moving = t < 1;
      s.version++;
      map.draw();
      if (t < 1) moving = requestAnimationFrame(step);
    };
    step(start);
  }
  return { place };
}
const tickAll = () => document.querySelectorAll("#explore-banks input:not(:checked)").forEach(input => input.click());
/* What lies over a map without points, or none of which passes: what to do. */
export function emptyMap(s, showAll) {
  const box = el("div", "empty");
  box.hidden = true;
  function draw() {
    const none = !s.points.length, offered = document.querySelectorAll("#explore-banks input").length > 0 && Boolean(s.value.teacher);
    box.hidden = none ? !offered : !s.points.every(p => p.faint);
    if (box.hidden) return;
    box.replaceChildren(el("p", "", none ? "Nothing is ticked. Tick a recipe above to see its sounds here." : "No clip passes these filters."),
      none ? button("", "Tick all", tickAll) : button("", "Show all clips", showAll));
  }
  return { box, draw };
}
/* What tests ask of a map: where points lie and how they look, and how long drawing takes (ms), all of it or its marks. */
export function addHooks(root, s, map) {
  root.where = map.where;
  root.looks = id => { const { colour, faint, plain } = s.byId.get(id); return { colour, faint, plain }; };
  root.ids = () => s.points.map(p => p.id);
  root.timing = whole => { if (whole) s.version++; map.draw(); return s.spent; };
  root.fill = count => {
    const some = [...s.points];
    while (some.length && s.points.length < count) {
      const p = some[s.points.length % some.length];
      s.points.push({ ...p, id: `${p.id}+${s.points.length}`, x: p.x + (Math.random() - .5) / 2, y: p.y + (Math.random() - .5) / 2 });
    }
    s.byId = new Map(s.points.map(p => [p.id, p]));
    s.sorted = s.points;
  };
}
