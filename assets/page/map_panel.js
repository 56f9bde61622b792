/* Drawing one panel of a map above its points (map_points.js): names of classes and contours, and what changes with the pointer, the
   selected point with lines to its neighbours. s: what is shown; style: ink, paper, grey, line (colours), size of a point,
   width of the canvas. */
import { classOf } from "./explore_colours.js";

/* Height of a panel's title. */
export const HEAD = 26;
const FONT = "13px 'IBM Plex Sans', system-ui, sans-serif";

function inPanel(c, panel, act) {
  const head = panel.layer ? HEAD : 0;
  c.save();
  c.beginPath(); c.rect(panel.x, panel.y - head, panel.w, panel.h + head); c.clip();
  act();
  c.restore();
}
/* contours: as `densityLines` finds them and where they lie, or null. */
export function drawPanel(c, panel, s, style, contours) {
  inPanel(c, panel, () => {
    if (panel.layer) drawFrame(c, panel, style);
    c.translate(panel.x, panel.y);
    if (contours) drawContours(c, contours, style);
    if (["class", "target"].includes(s.choice.colour) && !panel.layer) drawNames(c, panel, s, style);
  });
}
/* What is hovered and chosen, with its neighbours; the visitor's own sound; the lasso. */
export function drawMarks(c, panel, s, style) {
  const { ink, paper, size } = style, mine = p => !panel.layer || p.star || p.layer === panel.layer;
  const chosen = s.chosen && s.byId.get(s.chosen), hovered = s.hovered;
  inPanel(c, panel, () => {
    c.translate(panel.x, panel.y);
    for (const [p, strength] of [[chosen, .55], [hovered !== chosen && hovered, .3], [s.star, .55]]) {
      if (p && mine(p)) drawNeighbours(c, p, s, ink, mine, strength);
    }
    c.globalAlpha = 1;
    if (hovered && hovered !== chosen && mine(hovered)) ring(c, hovered, size + 3, 1.5, ink);
    if (chosen && mine(chosen)) {
      ring(c, chosen, size + 4.5, 2.5, ink);
      if (!chosen.layer.real) { disc(c, chosen, size); c.fillStyle = chosen.colour; c.fill(); }
    }
    if (s.star) drawStar(c, s.star, ink, paper);
    c.translate(-panel.x, -panel.y);
    if (s.lasso?.length > 1) {
      c.beginPath();
      s.lasso.forEach(([x, y], i) => i ? c.lineTo(x, y) : c.moveTo(x, y));
      c.closePath();
      c.globalAlpha = .1; c.fillStyle = ink; c.fill();
      c.globalAlpha = 1; c.lineWidth = 1.5; c.strokeStyle = ink; c.setLineDash([5, 4]); c.stroke();
    }
  });
}
function drawFrame(c, panel, { ink, line, width }) {
  c.strokeStyle = line; c.lineWidth = 1;
  c.strokeRect(panel.x + .5, panel.y - HEAD + .5, panel.w - (panel.x + panel.w < width - 1 ? 0 : 1), panel.h + HEAD - 1);
  c.fillStyle = ink; c.font = `700 ${FONT}`; c.textAlign = "left";
  c.fillText(panel.layer.title, panel.x + 10, panel.y - 8, panel.w - 20);
}
function drawContours(c, { paths, zoom, at }, { ink }) {
  c.save();
  c.translate(...at); c.scale(zoom, zoom);
  c.lineWidth = 1.4 / zoom; c.globalAlpha = .7;
  for (const { colour, path } of paths) { c.strokeStyle = colour || ink; c.stroke(path); }
  c.restore();
}
function drawNeighbours(c, p, s, ink, mine, strength) {
  c.strokeStyle = ink; c.lineWidth = 1; c.globalAlpha = strength;
  for (const near of (p.star ? p.near : s.details.get(p.id)?.near) || []) {
    const other = s.byId.get(near.id);
    if (other && mine(other)) { c.beginPath(); c.moveTo(p.sx, p.sy); c.lineTo(other.sx, other.sy); c.stroke(); }
  }
}
const disc = (c, p, radius) => { c.beginPath(); c.arc(p.sx, p.sy, radius, 0, 2 * Math.PI); };
const ring = (c, p, radius, width, ink) => { disc(c, p, radius); c.lineWidth = width; c.strokeStyle = ink; c.stroke(); };
function drawStar(c, p, ink, paper) {
  c.beginPath();
  for (let k = 0; k < 10; k++) {
    const radius = k % 2 ? 5 : 12, angle = Math.PI * (k / 5 - .5);
    c.lineTo(p.sx + radius * Math.cos(angle), p.sy + radius * Math.sin(angle));
  }
  c.closePath();
  c.lineWidth = 4; c.strokeStyle = paper; c.stroke();
  c.fillStyle = ink; c.fill();
}

/* The members of a class where most of them lie together: a mean may lie where no point is. */
function classCrowd(own, reach) {
  const cells = new Map(), at = p => [Math.floor(p.sx / reach), Math.floor(p.sy / reach)];
  for (const p of own) {
    const key = at(p).join();
    if (cells.has(key)) cells.get(key).push(p);
    else cells.set(key, [p]);
  }
  let best = [];
  for (const key of cells.keys()) {
    const [i, j] = key.split(",").map(Number), some = [];
    for (let a = i - 1; a <= i + 1; a++) for (let b = j - 1; b <= j + 1; b++) some.push(...cells.get(`${a},${b}`) || []);
    if (some.length > best.length) best = some;
  }
  return best;
}
/* Class names where most of a class lies, as far as they do not cover each other: of those that have a colour, where not
   all have one. */
function drawNames(c, panel, s, { ink, paper }) {
  const taken = [], reach = Math.max(14, .04 * panel.w), members = s.value.classes.map(() => []);
  s.points.forEach(p => { if (!p.faint && !p.plain) members[classOf(s, p)].push(p); });
  c.font = `700 ${FONT}`; c.textAlign = "center"; c.lineJoin = "round";
  s.value.classes.forEach((whole, i) => {
    const own = members[i], signs = [...whole], name = signs.length > 28 ? `${signs.slice(0, 27).join("")}…` : whole;
    if (own.length < 3) return;
    const most = classCrowd(own, reach);
    if (most.length < .25 * own.length) return;
    const w = c.measureText(name).width / 2 + 4, xs = most.map(p => p.sx), ys = most.map(p => p.sy);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    if (right < 0 || left > panel.w || bottom < 0 || top > panel.h) return;
    const mx = (left + right) / 2, my = (top + bottom) / 2 + 4;
    for (const [atX, atY] of [[mx, top - 10], [mx, bottom + 20], [right + w + 8, my], [left - w - 8, my]]) {
      const x = Math.min(panel.w - w, Math.max(w, atX)), y = Math.min(panel.h - 6, Math.max(14, atY));
      if (taken.some(t => Math.abs(t[0] - x) < t[2] + w && Math.abs(t[1] - y) < 17)) continue;
      taken.push([x, y, w]);
      c.lineWidth = 4; c.strokeStyle = paper; c.strokeText(name, x, y);
      c.fillStyle = ink; c.fillText(name, x, y);
      break;
    }
  });
}
