/* Learning curves of the runs shown: one metric at a time, values at the pointer. */
import { choices, context, css, duration, el, percent, swatch } from "./core.js";
import { colour, SHARES } from "./distil_runs.js";

/* Metrics in their order: title, and how to read it. */
const METRICS = {
  accuracy: ["Accuracy", "share of held-out recordings, not used in training, that are classified correctly"],
  agreement: ["Agreement", "share of unseen made clips for which student and teacher predict the same class"],
  kd: ["KD loss", "Kullback-Leibler divergence of the student's softened probabilities from the teacher's"],
  before: ["Frame-level features", "loss: distance of the student's frame-level features from the teacher's"],
  after: ["Embedding", "loss: distance of the student's embedding from the teacher's"],
  attention: ["Attention maps", "loss: distance of the student's attention maps from the teacher's"],
};
const TICKS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];   // seconds
const [LEFT, RIGHT, TOP, LOW] = [44, 12, 10, 26];                                   // margins in pixels

const title = name => METRICS[name]?.[0] || name;

export function curveChart(data) {
  const segments = el("div", "segments"), stage = el("div", "stage"), canvas = el("canvas"), tip = el("div", "tip"), reading = el("p", "reading");
  let metric = null, picked = null, at = null, scale = null;
  segments.setAttribute("role", "radiogroup");
  segments.setAttribute("aria-label", "Curve");
  canvas.setAttribute("role", "img");
  tip.hidden = true;
  stage.append(canvas, tip);

  const names = () => {
    const found = new Set(data.shown.flatMap(run => Object.keys(data.curves(run)).filter(name => data.curve(run, name).length)));
    const known = Object.keys(METRICS).filter(name => found.has(name));
    return [...known, ...[...found].filter(name => !known.includes(name))];
  };
  const words = value => SHARES.includes(metric) ? percent(value, 1) : value.toPrecision(3);
  function draw() {
    const all = names();
    if (!all.includes(picked)) picked = null;
    metric = picked || all[0] || null;
    if (segments.dataset.names !== all.join()) {
      segments.dataset.names = all.join();
      choices(segments, "metric", all.map(name => [name, title(name)]), metric, name => { picked = name; draw(); });
    }
    segments.querySelectorAll("input").forEach(input => { input.checked = input.value === metric; });
    reading.textContent = metric ? `${title(metric)}: ${METRICS[metric]?.[1] || "loss"}; over the seconds of making clips and learning` : "";
    plot();
  }
  function plot() {
    const width = stage.clientWidth, height = canvas.clientHeight;
    if (!width || !metric) return;
    const c = context(canvas, width, height), share = SHARES.includes(metric);
    const lines = data.shown.map(run => [run, data.curve(run, metric)]).filter(([, points]) => points.length);
    const all = lines.flatMap(([, points]) => points), end = Math.max(10, ...all.map(p => p[0]));
    const most = share ? 1 : Math.max(1e-6, ...all.map(p => p[1])), least = share ? 0 : Math.min(0, ...all.map(p => p[1]));
    const x = t => LEFT + t / end * (width - LEFT - RIGHT), y = v => height - LOW - (v - least) / (most - least) * (height - LOW - TOP);
    const ink = css(stage, "--body-text-color-subdued");
    const line = (points, style, thick) => {
      Object.assign(c, { strokeStyle: style, lineWidth: thick, lineJoin: "round" });
      c.beginPath();
      points.forEach(([px, py], i) => i ? c.lineTo(px, py) : c.moveTo(px, py));
      c.stroke();
    };
    scale = { x, end, width, lines };
    Object.assign(c, { font: "12px 'IBM Plex Sans', system-ui, sans-serif", fillStyle: ink, textAlign: "right", textBaseline: "middle" });
    for (let i = 0; i <= 4; i++) {
      const v = least + (most - least) * i / 4, level = Math.round(y(v)) + .5;
      c.globalAlpha = i ? .5 : 1;
      line([[LEFT, level], [width - RIGHT, level]], css(stage, "--frami-line"), 1);
      c.globalAlpha = 1;
      c.fillText(share ? `${25 * i}%` : v.toFixed(most < 10 ? 2 : 0), LEFT - 6, level);
    }
    c.textBaseline = "alphabetic";
    const step = TICKS.find(t => end / t <= Math.max(2, width / 110)) || 14400;
    for (let t = 0; t <= end + 1e-9; t += step) {
      c.textAlign = t ? x(t) > width - 30 ? "right" : "center" : "left";
      c.fillText(step < 60 ? `${t} s` : `${t / 60} min`, x(t), height - 8);
    }
    const { accuracy } = data.value;
    if (metric === "accuracy" && accuracy) {
      c.setLineDash([5, 4]);
      line([[LEFT, y(accuracy)], [width - RIGHT, y(accuracy)]], ink, 1);
      c.setLineDash([]);
      c.textAlign = "left";
      c.fillText(`the teacher: ${percent(accuracy, 1)}`, LEFT + 6, y(accuracy) - 5);
    }
    for (const [run, points] of lines.toReversed()) {
      const [t, v] = points[points.length - 1];
      line(points.map(p => [x(p[0]), y(p[1])]), css(stage, `--frami-r${run.colour}`), 2);
      c.fillStyle = c.strokeStyle;
      c.beginPath(); c.arc(x(t), y(v), 3.5, 0, 7); c.fill();
    }
    if (at !== null && at <= end) line([[x(at), TOP], [x(at), height - LOW]], ink, 1);
    canvas.setAttribute("aria-label", `${title(metric)}: ${lines.map(([run, points]) => `${run.title} ${words(points[points.length - 1][1])}`).join("; ")}`);
  }
  stage.addEventListener("pointermove", event => {
    if (!scale) return;
    const { x, end, width, lines } = scale, share = (event.clientX - canvas.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
    at = Math.min(end, Math.max(0, share * end));
    tip.replaceChildren(el("span", "", `after ${duration(at)}`), ...lines.map(([run, points]) => {
      const near = points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a), row = el("b");
      row.append(swatch(colour(run)), `${words(near[1])}  ${run.title}`);
      return row;
    }));
    tip.hidden = false;
    tip.style.left = `${Math.min(width - tip.offsetWidth - 4, Math.max(4, x(at) + 12))}px`;
    plot();
  });
  stage.addEventListener("pointerleave", () => { at = null; tip.hidden = true; plot(); });
  return { boxes: [segments, stage, reading], draw, any: () => names().length > 0, redrawOnResize: () => new ResizeObserver(plot).observe(stage) };
}
