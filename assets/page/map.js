/* The canvas of a map: points of one shared projection in one panel, or in one for each layer; finding them again.
   s: what is shown (points, value, choice, chosen, hovered, details); see explore.js. What is hovered or chosen is drawn
   on a second canvas above the points, which stay as they are meanwhile. */
import { context, css } from "./core.js";
import { densityLines } from "./map_density.js";
import { splatPoints } from "./map_points.js";
import { drawMarks, drawPanel, HEAD } from "./map_panel.js";

const MAP_REACH = { mouse: 14, pen: 18, touch: 24 };
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const MAP_CELL = 24, MAP_FARTHEST = 20;
const visible = p => !p.faint;
const inPanelBox = (panel, x, y) => x >= panel.x && x <= panel.x + panel.w && y >= panel.y && y <= panel.y + panel.h;
const belongsTo = (panel, p) => !panel.layer || p.star || p.layer === panel.layer;
const gridOf = (count, width) => {
  const columns = Math.min(count > 3 ? Math.ceil(Math.sqrt(count)) : count, Math.max(1, Math.floor(width / 150)));
  return { columns, rows: Math.ceil(count / columns) };
};
/* Left, right, low and high end of points with x and y. */
export function pointBounds(points) {
  const found = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of points) {
    if (x < found[0]) found[0] = x;
    if (x > found[1]) found[1] = x;
    if (y < found[2]) found[2] = y;
    if (y > found[3]) found[3] = y;
  }
  return found;
}
/* Whether x, y lies inside a polygon [[x, y], …] (even-odd rule). */
export function inPolygon(path, x, y) {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [ax, ay] = path[i], [bx, by] = path[j];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

export function pointMap(root, stage, canvas, s) {
  const marks = document.createElement("canvas");
  marks.className = "marks";
  canvas.after(marks);
  canvas.getContext("2d", { willReadFrequently: true });    // its pixels are written, not drawn
  let panels = [], zoom = 1, pan = [0, 0], pictured = "", cells = null, scale = [1, 1];

  function layout(width, height) {
    const layers = s.choice.view === "apart" && s.value.layers.length > 1 ? s.value.layers : [null];
    const head = layers[0] ? HEAD : 0, { columns, rows } = gridOf(layers.length, width);
    panels = layers.map((layer, i) => ({
      layer, x: i % columns * width / columns, y: Math.floor(i / columns) * height / rows + head, w: width / columns, h: height / rows - head,
    }));
    const [left, right, low, high] = s.bounds || pointBounds(s.points);
    const { w, h } = panels[0], edge = Math.min(w, h) < 220 ? 14 : 30;
    const across = (w - 2 * edge) / Math.max(right - left, 1e-6), up = (h - 2 * edge) / Math.max(high - low, 1e-6);
    // the axes of UMAP have no unit: they may be stretched a little to fill the panel
    const loose = root.dataset.projection === "umap" ? 1.6 : 1, tight = Math.min(across, up);
    scale = [Math.min(across, loose * tight), Math.min(up, loose * tight)];
    const [fx, fy] = [zoom * scale[0], zoom * scale[1]], [mx, my] = [(left + right) / 2, (low + high) / 2];
    const put = p => { p.sx = w / 2 + (p.x - mx) * fx + pan[0]; p.sy = h / 2 - (p.y - my) * fy + pan[1]; };
    s.points.forEach(put);
    if (s.star) put(s.star);
    cells = null;
  }
  function draw() {
    const began = performance.now(), width = stage.clientWidth, { columns, rows } = gridOf(s.value.layers.length || 1, width);
    const tall = s.choice.view === "apart" && (rows > 2 || width < 500), wanted = tall ? `${rows * Math.min(260, width / columns + HEAD)}px` : "";
    if (canvas.style.height !== wanted) canvas.style.height = wanted;
    const height = canvas.clientHeight;
    marks.style.height = `${height}px`;
    if (!width || !s.points.length) { context(canvas, width, height); context(marks, width, height); pictured = ""; return; }
    const dark = document.body.classList.contains("dark");
    const key = [s.version, zoom, ...pan, width, height, s.choice.view, s.moving, dark, devicePixelRatio].join();
    if (key !== pictured) {
      layout(width, height);
      const roomy = panels.length === 1 && width > 500, many = s.points.length;
      s.style = {
        ink: css(root, "--body-text-color"), paper: css(root, "--block-background-fill") || "#fff", grey: css(root, "--frami-real"), line: css(root, "--frami-line"),
        size: (roomy ? many > 2000 ? 3.2 : many > 300 ? 4 : 4.8 : many > 2000 ? 2.6 : 3.2) * Math.min(1.6, zoom ** .3), width,
      };
      const c = context(canvas, width, height);
      splatPoints(canvas, panels, s, s.style);
      panels.forEach(panel => drawPanel(c, panel, s, s.style, s.choice.density && !s.moving ? lines(panel) : null));
      pictured = key;
    }
    const c = context(marks, width, height);
    panels.forEach(panel => drawMarks(c, panel, s, s.style));
    root.dataset.drawn = s.points.length;
    s.spent = performance.now() - began;
  }
  /* Contours of the density in a panel, and how the map as a whole lies in it. */
  function lines(panel) {
    const [w, h] = [panel.w, panel.h];
    const flat = p => [(p.sx - pan[0] - w / 2) / zoom + w / 2, (p.sy - pan[1] - h / 2) / zoom + h / 2];
    return { paths: densityLines(s, panel, flat), zoom, at: [w / 2 + pan[0] - zoom * w / 2, h / 2 + pan[1] - zoom * h / 2] };
  }

  // ---- finding points
  function near(x, y) {
    if (!cells) {
      cells = new Map();
      for (const p of [...s.points, ...s.star ? [s.star] : []]) {
        const at = `${Math.floor(p.sx / MAP_CELL)},${Math.floor(p.sy / MAP_CELL)}`;
        if (cells.has(at)) cells.get(at).push(p);
        else cells.set(at, [p]);
      }
    }
    const [i, j] = [Math.floor(x / MAP_CELL), Math.floor(y / MAP_CELL)], found = [];
    for (let a = i - 1; a <= i + 1; a++) for (let b = j - 1; b <= j + 1; b++) found.push(...cells.get(`${a},${b}`) || []);
    return found;
  }
  function inCanvas(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }
  /* The point under the pointer and its panel, or null. */
  function under(event) {
    const [x, y] = inCanvas(event), panel = panels.find(one => inPanelBox(one, x, y));
    let best = null, least = Math.min(MAP_CELL, MAP_REACH[event.pointerType] || MAP_REACH.mouse) ** 2;
    if (!panel) return null;
    for (const p of near(x - panel.x, y - panel.y)) {
      const d = (p.sx + panel.x - x) ** 2 + (p.sy + panel.y - y) ** 2 - (p.star ? 100 : 0);
      if (d < least && visible(p) && belongsTo(panel, p)) { least = d; best = [p, panel]; }
    }
    return best;
  }
  /* The visible points inside a path of canvas coordinates, of the panel that it began in. */
  function within(path) {
    const panel = panels.find(one => inPanelBox(one, ...path[0])) || panels[0];
    return s.points.filter(p => visible(p) && belongsTo(panel, p) && inPolygon(path, p.sx + panel.x, p.sy + panel.y));
  }
  /* The nearest point that lies more in the direction of an arrow key than beside it. */
  function toward(from, key) {
    const [dx, dy] = WAYS[key];
    let best = null, least = Infinity;
    for (const p of s.points) {
      const x = p.sx - from.sx, y = p.sy - from.sy, along = x * dx + y * dy, beside = Math.abs(x * dy - y * dx);
      if (p === from || !visible(p) || along < .5 || beside > 1.2 * along) continue;
      if (s.choice.view === "apart" && p.layer !== from.layer) continue;
      if (along + 1.5 * beside < least) { least = along + 1.5 * beside; best = p; }
    }
    return best;
  }
  function middle() {
    const { w, h } = panels[0] || {}, off = p => (p.sx - w / 2) ** 2 + (p.sy - h / 2) ** 2;
    return s.points.filter(visible).reduce((a, p) => !a || off(p) < off(a) ? p : a, null);
  }
  const panelOf = p => panels.find(one => !one.layer || one.layer === p.layer) || panels[0];
  /* Where a point lies in the window. */
  function where(id) {
    const p = s.star?.id === id ? s.star : s.byId.get(id), box = canvas.getBoundingClientRect(), panel = panelOf(p);
    return [box.left + panel.x + p.sx, box.top + panel.y + p.sy];
  }

  // ---- zoom
  /* No farther than that half of the map stays in sight. */
  function hold() {
    const { w, h } = panels[0] || { w: 0, h: 0 };
    pan = [[pan[0], w], [pan[1], h]].map(([at, size]) => Math.max(-zoom * size / 2, Math.min(zoom * size / 2, at)));
  }
  /* Zoom about a point of the window (else the middle); factor 0 shows all. */
  function magnify(factor, clientX, clientY) {
    const panel = panels[0], box = canvas.getBoundingClientRect();
    if (!panel) return;
    if (!factor) { fit(); draw(); return; }
    const after = Math.min(MAP_FARTHEST, Math.max(1, zoom * factor)), change = after / zoom;
    const x = clientX === undefined ? 0 : (clientX - box.left) % panel.w - panel.w / 2;
    const y = clientY === undefined ? 0 : clientY - box.top - panel.y - panel.h / 2;
    pan = after === 1 ? [0, 0] : [x - (x - pan[0]) * change, y - (y - pan[1]) * change];
    zoom = after;
    settle();
  }
  const settle = () => {
    hold();
    stage.classList.toggle("zoomed", zoom > 1);
    draw();
  };
  const move = (dx, dy) => { pan = [pan[0] + dx, pan[1] + dy]; settle(); };
  const fit = () => { zoom = 1; pan = [0, 0]; stage.classList.remove("zoomed"); };
  /* Zoom so that these points fill the panel. */
  function show(points) {
    const panel = panels[0];
    if (!panel || !points.length) return;
    const [left, right, top, bottom] = pointBounds(points.map(p => ({ x: p.sx, y: p.sy }))), edge = .18 * Math.min(panel.w, panel.h);
    const factor = Math.min((panel.w - 2 * edge) / Math.max(right - left, 1), (panel.h - 2 * edge) / Math.max(bottom - top, 1));
    const after = Math.min(MAP_FARTHEST, Math.max(1, zoom * factor)), change = after / zoom;
    const [cx, cy] = [(left + right) / 2 - panel.w / 2, (top + bottom) / 2 - panel.h / 2];
    pan = [(pan[0] - cx) * change, (pan[1] - cy) * change];
    zoom = after;
    settle();
  }
  return {
    draw, under, within, toward, middle, where, magnify, move, fit, show, inCanvas, panelOf,
    get zoomed() { return zoom > 1; },
    /* Whether the wheel would still change something. */
    canZoom: closer => closer ? zoom < MAP_FARTHEST : zoom > 1,
  };
}
