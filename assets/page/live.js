/* A run of synthesis: its progress, the curves of its loss terms, the clips that form and those that are done. */
import { button, context, css, duration, el, percent, plural } from "./core.js";
import { change, selection } from "./selection.js";
import { sharing } from "./sharing.js";
import { fill, setTabStop } from "./tiles.js";

const isSelected = clip => clip.id === selection.clip?.id;
const COLOURS = ["class", "batch_norm", "contrast", "adversarial", "confidence", "balance", "activation", "variation"];

frami.live = (element, props, server, watch) => {
  const root = element.querySelector(".frami-live");
  const status = el("p", "status"), notes = el("p", "remarks"), bar = el("div", "bar"), curves = el("div", "curves");
  const forming = el("div", "frami-tiles"), done = el("div", "frami-tiles"), spoken = el("p", "frami-spoken");
  const formingTitle = el("h3", "", "Forming"), doneTitle = el("h3", "", "Done");
  spoken.setAttribute("role", "status");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", "Progress of the run");
  bar.append(el("div"));
  const links = el("div", "links");
  const form = foldedForm();
  root.append(form.box, status, spoken, bar, notes, links, formingTitle, forming, doneTitle, done, curves);
  const draw = () => {
    const value = props.value || {}, now = value.clips || [], running = value.state === "running";
    const finished = (props.finished || []).filter(clip => value.run && clip.id.startsWith(`run/${value.run}/`));
    Object.assign(root.dataset, { state: value.state || "idle", step: value.step || 0, finished: finished.length });
    status.textContent = words(value, finished);
    const brief = running ? `Running, batch ${value.batch} of ${value.batches}` : status.textContent;
    if (spoken.textContent !== brief && value.run) spoken.textContent = brief;
    notes.textContent = (value.notes || []).join(" · ");
    notes.hidden = !notes.textContent;
    showLinks(value);
    bar.setAttribute("aria-valuenow", Math.round(100 * (value.share || 0)));
    bar.firstChild.style.width = `${100 * (value.share || 0)}%`;
    bar.hidden = !running && value.state !== "waiting";
    drawCurves(curves, value);
    formingTitle.hidden = forming.hidden = !now.length;
    doneTitle.hidden = done.hidden = !finished.length;
    if (value.axis) {
      const longest = Math.max(...now.map(clip => clip.frames), ...finished.map(clip => clip.frames));
      fill(forming, now, value.axis, server, "forming", longest);
      fill(done, finished, value.axis, server, "done", longest);
    }
    setTabStop(root);
    form.follow(value, root);
    // Generate was disabled under the visitor's fingers: go on at Stop
    if (running && document.activeElement === document.body && !root.dataset.moved) {
      root.dataset.moved = "1";
      document.querySelector("button#stop:not([disabled])")?.focus({ preventScroll: true });
    }
    if (!running) delete root.dataset.moved;
    if (selection.forming) {
      const end = finished.find(isSelected), clip = end || now.find(isSelected);
      if (clip) change({ clip, forming: !end });
    }
  };
  function showLinks({ run, shareable, link, state }) {
    links.hidden = !run || !shareable || !["running", "done", "stopped"].includes(state);
    if (links.dataset.run !== run) {
      links.dataset.run = run || "";
      links.replaceChildren(...run ? [sharing(server, run)] : []);
      links.firstChild?.renew(link);
    }
  }
  watch(["value", "finished"], draw);
  draw();
};

/* The form gives way to what forms, and leaves a line that brings it back. */
function foldedForm() {
  const box = el("div", "folded"), said = el("span"), open = button("unfold", "Change settings", () => { fold(false); document.querySelector("#recipe input")?.focus({ preventScroll: true }); });
  let begun = null;    // the run for which the form was folded
  const fold = on => { document.querySelector("#synthesize-tab")?.classList.toggle("folded", on); box.hidden = !on; };
  box.append(said, open);
  box.hidden = true;
  return { box, follow(value, root) {
    const active = value.state === "running" || value.state === "waiting";
    if (value.recipe) said.textContent = `${value.recipe}${value.steps ? ` · ${plural(value.steps, "step")}` : ""}`;
    if (active && value.run && begun !== value.run) {
      begun = value.run;
      fold(true);
      requestAnimationFrame(() => { if (root.getBoundingClientRect().top > innerHeight / 2 || scrollY > 0) document.querySelector("#actions")?.scrollIntoView({ block: "start", behavior: "smooth" }); });
    }
  } };
}

function words(value, finished) {
  const count = plural(finished.length, "clip"), classes = new Set(finished.map(clip => clip.predicted)).size;
  const made = !finished.length ? "no clip was finished"
    : value.untargeted ? `${count} of ${plural(classes, "class", "classes")}`
    : `${count}, ${finished.filter(clip => clip.predicted === clip.target).length} classified as ${finished.length === 1 ? "its" : "their"} target class`;
  const what = value.teacher ? `${value.own === false ? "Shared with you: " : ""}${value.teacher} · ${value.recipe} · ` : "";
  switch (value.state) {
    case "waiting": return value.ahead ? `Waiting for ${plural(value.ahead, "other run")} on this machine${value.begins ? `, begins in about ${duration(value.begins)}` : ""}…` : "Starting…";
    case "running": return `${what}batch ${value.batch} of ${value.batches}, step ${value.step} of ${value.steps} · ` +
      `teacher's confidence ${percent(value.confidence)} · ${duration(value.left)} left`;
    case "done": return value.seconds ? `${what}done in ${duration(value.seconds)}: ${made}. Click one to hear it.` : `${what}${value.own === false ? "" : "your last run: "}${made}.`;
    case "stopped": return value.step ? `${what}stopped at step ${value.step} of ${value.steps}: ${made}. What was made is saved.` : "Stopped before it began.";
    case "error": return value.message || "The run failed.";
    default: return "Press Generate. Noise turns into pictures that the teacher recognises, step by step; each can be heard while it forms.";
  }
}

function drawCurves(box, { curves = {}, hints = {}, untargeted }) {
  const names = Object.keys(curves).filter(name => curves[name].length > 1), have = new Map([...box.children].map(one => [one.dataset.name, one]));
  box.hidden = !names.length;
  for (const name of names) {
    const figure = have.get(name) || el("figure", "curve"), points = curves[name], last = points[points.length - 1], share = name === "confidence";
    if (!have.delete(name)) {
      figure.dataset.name = name;
      figure.append(el("figcaption"), el("canvas"));
      figure.firstChild.append(el("b", "", name.replace("_", " ")), el("span", "now"));
      figure.title = share ? `the teacher's mean probability of the ${untargeted ? "class that it predicts" : "target class"}` : hints[name] || "";
      box.append(figure);
    }
    figure.querySelector(".now").textContent = share ? percent(last) : Math.abs(last) < 1000 ? last.toPrecision(3) : Math.round(last);
    drawCurve(figure.lastChild, points, `--frami-s${COLOURS.indexOf(name) + 1}`, share);
  }
  have.forEach(figure => figure.remove());
}
function drawCurve(canvas, points, colour, share) {
  const w = canvas.clientWidth || 160, h = canvas.clientHeight || 44, c = context(canvas, w, h);
  const most = Math.max(...points), low = share ? 0 : Math.min(0, ...points);
  const high = share ? 1 : most > 0 ? most : Math.max(most, low + 1e-9);   // a term that is never positive fills its box too
  const line = (style, width, ends) => {
    Object.assign(c, { strokeStyle: style, lineWidth: width, lineJoin: "round" });
    c.beginPath();
    ends.forEach(([x, y], i) => i ? c.lineTo(x, y) : c.moveTo(x, y));
    c.stroke();
  };
  line(css(canvas, "--frami-line"), 1, [[0, h - .5], [w, h - .5]]);
  line(css(canvas, colour) || "#b5306f", 2, points.map((p, i) => [i / (points.length - 1) * (w - 2) + 1, h - 2 - (p - low) / (high - low) * (h - 5)]));
}
