/* Curves over seconds on a canvas: what the first view, a lesson and the comparison draw alike. */
import { context, css, percent } from "./core.js";

const TICKS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];    // seconds
const [LEFT, RIGHT, TOP, LOW] = [44, 12, 10, 26];                                    // margins in pixels

/* Each value as the mean of those before it, which count less the older they are; by: 0 as they are, below 1. */
export function smoothed(points, by) {
  let sum = 0, weight = 0;
  return by ? points.map(([t, v]) => {
    sum = by * sum + (1 - by) * v;
    weight = by * weight + (1 - by);
    return [t, sum / weight];
  }) : points;
}
/* lines: [{ points: [[seconds, value], …], colour, dash, faint }], colour a CSS variable; share: whether values are shares;
   end: seconds of the axis at least; levels: [{ value, words, dash }], shares to reach; at: seconds that are pointed at.
   Returns { x, end, width }: the scale. */
export function plotCurves(canvas, { lines, share, end = 10, levels = [], at = null }) {
  const stage = canvas.parentElement, width = stage.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return null;
  const c = context(canvas, width, height), all = lines.flatMap(({ points }) => points), ink = css(stage, "--body-text-color-subdued");
  end = Math.max(end, ...all.map(p => p[0]));
  const most = share ? 1 : Math.max(1e-6, ...all.map(p => p[1])), least = share ? 0 : Math.min(0, ...all.map(p => p[1]));
  const x = t => LEFT + t / end * (width - LEFT - RIGHT), y = v => height - LOW - (v - least) / (most - least) * (height - LOW - TOP);
  const line = (points, style, thick, pattern = []) => {
    Object.assign(c, { strokeStyle: style, lineWidth: thick, lineJoin: "round" });
    c.setLineDash(pattern);
    c.beginPath();
    points.forEach(([px, py], i) => i ? c.lineTo(px, py) : c.moveTo(px, py));
    c.stroke();
    c.setLineDash([]);
  };
  Object.assign(c, { font: "12px 'IBM Plex Sans', system-ui, sans-serif", fillStyle: ink, textAlign: "right", textBaseline: "middle" });
  for (let i = 0; i <= 4; i++) {
    const v = least + (most - least) * i / 4, level = Math.round(y(v)) + .5;
    c.globalAlpha = i ? .5 : 1;
    line([[LEFT, level], [width - RIGHT, level]], css(stage, "--frami-line"), 1);
    c.globalAlpha = 1;
    c.fillText(share ? percent(i / 4) : v.toFixed(most < 10 ? 2 : 0), LEFT - 6, level);
  }
  c.textBaseline = "alphabetic";
  const step = TICKS.find(t => end / t <= Math.max(2, width / 110)) || 14400;
  for (let t = 0; t <= end + 1e-9; t += step) {
    c.textAlign = t ? x(t) > width - 30 ? "right" : "center" : "left";
    c.fillText(step < 60 ? `${t} s` : `${t / 60} min`, x(t), height - 8);
  }
  levels.forEach(({ value, pattern }) => line([[LEFT, y(value)], [width - RIGHT, y(value)]], ink, 1, pattern || [5, 4]));
  for (const { points, colour, dash, faint } of lines.toReversed()) {
    if (!points.length) continue;
    const [t, v] = points[points.length - 1], style = css(stage, colour.replace(/^var\(|\)$/g, ""));
    c.globalAlpha = faint ? .25 : 1;
    line(points.map(p => [x(p[0]), y(p[1])]), style, faint ? 1.5 : 2.5, dash);
    c.fillStyle = style;
    if (!faint) { c.beginPath(); c.arc(x(t), y(v), 4, 0, 7); c.fill(); }
    c.globalAlpha = 1;
  }
  // what the levels are, over the curves and below each other
  Object.assign(c, { fillStyle: ink, strokeStyle: css(stage, "--block-background-fill"), lineWidth: 4, lineJoin: "round", textAlign: "right" });
  levels.reduce((above, { value, words }, i) => {
    const row = Math.max(above + 15, y(value) + (i || value > .93 ? 16 : -5));
    c.strokeText(words, width - RIGHT - 8, row);
    c.fillText(words, width - RIGHT - 8, row);
    return row;
  }, -Infinity);
  if (at !== null && at <= end) line([[x(at), TOP], [x(at), height - LOW]], ink, 1);
  return { x, end, width, left: LEFT, right: RIGHT };
}
