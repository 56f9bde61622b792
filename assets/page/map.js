/* The canvas of a map: points of one shared projection in one panel, or in one for each layer; finding them again.
   s: what is shown (points, value, choice, chosen, hovered, details); see explore.js. */
import { context, css } from "./core.js";
import { drawPanel, HEAD } from "./map_panel.js";

const REACH = { mouse: 14, pen: 18, touch: 24 };
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const visible = p => !p.faint;
const grid = (count, width) => {
  const columns = Math.min(count > 3 ? Math.ceil(Math.sqrt(count)) : count, Math.max(1, Math.floor(width / 150)));
  return { columns, rows: Math.ceil(count / columns) };
};

export function pointMap(root, stage, canvas, s) {
  let panels = [], zoom = 1, pan = [0, 0];

  function layout(width, height) {
    const layers = s.choice.view === "apart" && s.value.layers.length > 1 ? s.value.layers : [null];
    const head = layers[0] ? HEAD : 0, { columns, rows } = grid(layers.length, width);
    panels = layers.map((layer, i) => ({
      layer, x: i % columns * width / columns, y: Math.floor(i / columns) * height / rows + head, w: width / columns, h: height / rows - head,
    }));
    const xs = s.points.map(p => p.x), ys = s.points.map(p => p.y);
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const { w, h } = panels[0], edge = Math.min(w, h) < 220 ? 14 : 30;
    const across = (w - 2 * edge) / Math.max(right - left, 1e-6), up = (h - 2 * edge) / Math.max(high - low, 1e-6);
    // the axes of UMAP have no unit: they may be stretched a little to fill the panel
    const loose = root.dataset.projection === "umap" ? 1.6 : 1, tight = Math.min(across, up);
    const [fx, fy] = [zoom * Math.min(across, loose * tight), zoom * Math.min(up, loose * tight)];
    s.points.forEach(p => { p.sx = w / 2 + (p.x - (left + right) / 2) * fx + pan[0]; p.sy = h / 2 - (p.y - (low + high) / 2) * fy + pan[1]; });
  }
  function draw() {
    const width = stage.clientWidth, { columns, rows } = grid(s.value.layers.length || 1, width);
    const tall = s.choice.view === "apart" && (rows > 2 || width < 500);
    canvas.style.height = tall ? `${rows * Math.min(260, width / columns + HEAD)}px` : "";
    const height = canvas.clientHeight, c = context(canvas, width, height);
    if (!width || !s.points.length) return;
    layout(width, height);
    const roomy = panels.length === 1 && width > 500;
    const style = {
      ink: css(root, "--body-text-color"), paper: css(root, "--block-background-fill") || "#fff", grey: css(root, "--frami-real"), line: css(root, "--frami-line"),
      size: (roomy ? s.points.length > 300 ? 4 : 4.8 : 3.2) * Math.min(1.6, zoom ** .3), width,
    };
    panels.forEach(panel => drawPanel(c, panel, s, style));
    root.dataset.drawn = s.points.length;
  }

  // ---- finding points
  /* The point under the pointer and its panel, or null. */
  function under(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = (REACH[event.pointerType] || REACH.mouse) ** 2;
    for (const panel of panels) {
      if (x < panel.x || x > panel.x + panel.w || y < panel.y || y > panel.y + panel.h) continue;
      for (const p of s.points) {
        const d = (p.sx + panel.x - x) ** 2 + (p.sy + panel.y - y) ** 2;
        if (d < least && visible(p) && (!panel.layer || p.layer === panel.layer)) { least = d; best = [p, panel]; }
      }
    }
    return best;
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
  /* Where a point lies in the window. */
  function where(id) {
    const p = s.points.find(point => point.id === id), box = canvas.getBoundingClientRect();
    const panel = panels.find(one => !one.layer || one.layer === p.layer);
    return [box.left + panel.x + p.sx, box.top + panel.y + p.sy];
  }

  // ---- zoom
  /* Zoom about a point of the window (else the middle); factor 0 shows all. */
  function magnify(factor, clientX, clientY) {
    const panel = panels[0], box = canvas.getBoundingClientRect();
    if (!panel) return;
    if (!factor) { fit(); draw(); return; }
    const after = Math.min(20, Math.max(.8, zoom * factor)), change = after / zoom;
    const x = clientX === undefined ? 0 : (clientX - box.left) % panel.w - panel.w / 2;
    const y = clientY === undefined ? 0 : clientY - box.top - panel.y - panel.h / 2;
    pan = [x - (x - pan[0]) * change, y - (y - pan[1]) * change];
    zoom = after;
    draw();
  }
  const move = (dx, dy) => { pan = [pan[0] + dx, pan[1] + dy]; draw(); };
  const fit = () => { zoom = 1; pan = [0, 0]; };
  return { draw, under, toward, middle, where, magnify, move, fit, get zoomed() { return zoom > 1; } };
}
