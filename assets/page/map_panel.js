/* Drawing one panel of a map: its points, the selected one with lines to its neighbours, names of classes.
   s: what is shown; style: ink, paper, grey, line (colours), size of a point, width of the canvas. */

/* Height of a panel's title. */
export const HEAD = 26;
const FONT = "13px 'IBM Plex Sans', system-ui, sans-serif";

export function drawPanel(c, panel, s, style) {
  const { ink, size } = style, mine = p => !panel.layer || p.layer === panel.layer;
  const chosen = s.chosen && s.points.find(p => p.id === s.chosen), head = panel.layer ? HEAD : 0;
  c.save();
  c.beginPath(); c.rect(panel.x, panel.y - head, panel.w, panel.h + HEAD); c.clip();
  if (panel.layer) drawFrame(c, panel, style);
  c.translate(panel.x, panel.y);
  if (chosen && mine(chosen)) drawNeighbours(c, chosen, s, ink, mine);
  const order = p => (mine(p) ? 2 : 0) + (p.layer.real ? 0 : 1) - (p.faint ? 8 : p.plain ? 4 : 0);
  for (const p of s.points.toSorted((a, b) => order(a) - order(b))) drawPoint(c, p, mine(p), style);
  c.globalAlpha = 1;
  if (s.choice.colour === "class" && !panel.layer) drawNames(c, panel, s, style);
  if (s.hovered && s.hovered !== chosen && mine(s.hovered)) ring(c, s.hovered, size + 3, 1.5, ink);
  if (chosen && mine(chosen)) {
    ring(c, chosen, size + 4.5, 2.5, ink);
    if (!chosen.layer.real) { disc(c, chosen, size); c.fillStyle = chosen.colour; c.fill(); }
  }
  c.restore();
}
function drawFrame(c, panel, { ink, line, width }) {
  c.strokeStyle = line; c.lineWidth = 1;
  c.strokeRect(panel.x + .5, panel.y - HEAD + .5, panel.w - (panel.x + panel.w < width - 1 ? 0 : 1), panel.h + HEAD - 1);
  c.fillStyle = ink; c.font = `700 ${FONT}`; c.textAlign = "left";
  c.fillText(panel.layer.title, panel.x + 10, panel.y - 8, panel.w - 20);
}
function drawNeighbours(c, chosen, s, ink, mine) {
  c.strokeStyle = ink; c.lineWidth = 1; c.globalAlpha = .45;
  for (const near of s.details.get(chosen.id)?.near || []) {
    const other = s.points.find(p => p.id === near.id);
    if (other && mine(other)) { c.beginPath(); c.moveTo(chosen.sx, chosen.sy); c.lineTo(other.sx, other.sy); c.stroke(); }
  }
}
const disc = (c, p, radius) => { c.beginPath(); c.arc(p.sx, p.sy, radius, 0, 2 * Math.PI); };
const ring = (c, p, radius, width, ink) => { disc(c, p, radius); c.lineWidth = width; c.strokeStyle = ink; c.stroke(); };
/* Made clips are filled, real ones hollow; those of other panels small and grey. */
function drawPoint(c, p, mine, { size, grey, paper }) {
  const real = p.layer.real;
  c.globalAlpha = p.faint ? .1 : !mine ? .16 : p.plain ? .5 : real ? .75 : .95;
  disc(c, p, !mine ? 2 : real ? size - .6 : size);
  if (!mine) { c.fillStyle = grey; c.fill(); return; }
  if (!real) { c.fillStyle = p.colour; c.fill(); }
  c.lineWidth = !real ? .8 : size < 4 ? 1.1 : 1.4;
  c.strokeStyle = real ? p.colour : paper;
  c.stroke();
}
/* Class names where most of a class lies, as far as they do not cover each other: of those that have a colour, where not
   all have one. */
function drawNames(c, panel, s, { ink, paper }) {
  const taken = [], reach = Math.max(20, .055 * panel.w) ** 2, members = s.value.classes.map(() => []);
  s.points.forEach(p => { if (!p.faint && !p.plain) members[p.label].push(p); });
  c.font = `700 ${FONT}`; c.textAlign = "center"; c.lineJoin = "round";
  s.value.classes.forEach((whole, i) => {
    const own = members[i], signs = [...whole], name = signs.length > 28 ? `${signs.slice(0, 27).join("")}…` : whole;
    if (own.length < 3) return;
    // the member with the most neighbours of its own class: a mean may lie where no point is
    const near = p => own.filter(q => (p.sx - q.sx) ** 2 + (p.sy - q.sy) ** 2 < reach);
    const most = own.map(near).reduce((a, b) => b.length > a.length ? b : a);
    if (most.length < .25 * own.length) return;
    const w = c.measureText(name).width / 2 + 4, xs = most.map(p => p.sx), ys = most.map(p => p.sy);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
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
