/* Learning curves of the runs shown: one metric at a time, smoothed as one likes, values at the pointer. */
import { choices, duration, el, percent } from "./core.js";
import { plotCurves, smoothed } from "./distil_plot.js";
import { colour, dash, legend, runName, SHARES } from "./distil_runs.js";

/* Metrics in their order: title, and how to read it. */
const METRICS = {
  accuracy: ["Accuracy", "share of held-out recordings, not used in training, that are classified correctly"],
  agreement: ["Agreement", "share of unseen made clips for which student and teacher predict the same class"],
  real_agreement: ["Agreement on recordings", "share of held-out recordings for which student and teacher predict the same class"],
  kd: ["KD loss", "Kullback-Leibler divergence of the student's softened probabilities from the teacher's"],
  before: ["Frame-level features", "loss: distance of the student's frame-level features from the teacher's"],
  after: ["Embedding", "loss: distance of the student's embedding from the teacher's"],
  attention: ["Attention maps", "loss: distance of the student's attention maps from the teacher's"],
};
const metricTitle = name => METRICS[name]?.[0] || name;

export function curveChart(data) {
  const segments = el("div", "segments"), stage = el("div", "stage"), canvas = el("canvas"), tip = el("div", "tip"), reading = el("p", "reading");
  const smooth = el("label", "smooth"), slider = el("input");
  let metric = null, picked = null, at = null, scale = null, shownLines = [];
  segments.setAttribute("role", "radiogroup");
  segments.setAttribute("aria-label", "Curve");
  canvas.setAttribute("role", "img");
  tip.hidden = true;
  Object.assign(slider, { type: "range", min: 0, max: 0.95, step: 0.05, value: 0 });
  slider.addEventListener("input", () => plot());
  smooth.append(el("span", "", "Smoothing"), slider);
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
      choices(segments, "metric", all.map(name => [name, metricTitle(name)]), metric, name => { picked = name; draw(); });
    }
    segments.querySelectorAll("input").forEach(input => { input.checked = input.value === metric; });
    reading.textContent = metric ? `${metricTitle(metric)}: ${METRICS[metric]?.[1] || "loss"}; over the seconds of making clips and learning` : "";
    plot();
  }
  function plot() {
    if (!metric) return;
    const by = Number(slider.value), { accuracy } = data.value;
    shownLines = data.shown.map(run => ({ run, raw: data.curve(run, metric), colour: colour(run), dash: dash(run) })).filter(({ raw }) => raw.length);
    shownLines.forEach(one => { one.points = smoothed(one.raw, by); });
    const raw = by ? shownLines.map(one => ({ points: one.raw, colour: one.colour, dash: one.dash, faint: true })) : [];
    const levels = metric === "accuracy" && accuracy ? [{ value: accuracy, words: `the teacher: ${percent(accuracy, 1)}` }] : [];
    scale = plotCurves(canvas, { lines: [...shownLines, ...raw], share: SHARES.includes(metric), levels, at });
    slider.setAttribute("aria-valuetext", percent(by));
    canvas.setAttribute("aria-label", `${metricTitle(metric)}: ${shownLines.map(({ run, raw: all }) => `${runName(run)} ${words(all[all.length - 1][1])}`).join("; ")}`);
  }
  stage.addEventListener("pointermove", event => {
    if (!scale) return;
    const { x, end, width, left, right } = scale, share = (event.clientX - canvas.getBoundingClientRect().left - left) / (width - left - right);
    at = Math.min(end, Math.max(0, share * end));
    tip.replaceChildren(el("span", "", `after ${duration(at)}`), ...shownLines.map(({ run, points }) => {
      const near = points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
      return legend(run, `${words(near[1])}  ${runName(run)}`);
    }));
    tip.hidden = false;
    tip.style.left = `${Math.min(width - tip.offsetWidth - 4, Math.max(4, x(at) + 12))}px`;
    plot();
  });
  stage.addEventListener("pointerleave", () => { at = null; tip.hidden = true; plot(); });
  return { boxes: [segments, smooth, stage, reading], draw, any: () => names().length > 0, redrawOnResize: () => new ResizeObserver(plot).observe(stage) };
}
