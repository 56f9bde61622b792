/* The Teachers & data tab: what is being downloaded, trained, imported or made, with its progress and workCurves. */
import { button, duration, el, fileSize, onPhone, percent } from "./core.js";

const WORK_PAUSE = 1000, WORK_GOES_ON = new Set(["waiting", "running", "stopping"]);   // milliseconds between two looks
const WORK_WORDS = { waiting: "starts, or waits its turn", running: "at work", stopping: "is stopping", finished: "finished", stopped: "stopped", failed: "failed" };
const WORK_CURVES = [["training", "training clips, augmented"], ["held out", "held-out clips"]];
const SVG_NAMES = "http://www.w3.org/2000/svg", [CHART_WIDE, CHART_HIGH, CHART_EDGE, CHART_FOOT] = [320, 130, 34, 18];

/* Begin something: { name }. Whoever shows the work takes it from there. */
export const prepare = (what, request) => document.dispatchEvent(new CustomEvent("frami-prepare", { detail: { what, request } }));

export const svgPart = (tag, values, text) => {
  const made = document.createElementNS(SVG_NAMES, tag);
  Object.entries(values).forEach(([name, value]) => made.setAttribute(name, value));
  if (text !== undefined) made.textContent = text;
  return made;
};
/* Lines over the epochs; lines: [[class, [[epoch, value], …]], …]. */
function epochChart(title, lines, epochs, least, most, words) {
  const box = el("figure"), picture = svgPart("svg", { viewBox: `0 0 ${CHART_WIDE} ${CHART_HIGH}`, role: "img" }), caption = el("figcaption", "", title);
  const x = epoch => CHART_EDGE + (epochs > 1 ? (epoch - 1) / (epochs - 1) : .5) * (CHART_WIDE - CHART_EDGE - 6), y = v => CHART_HIGH - CHART_FOOT - (v - least) / (most - least || 1) * (CHART_HIGH - CHART_FOOT - 8);
  for (const v of [least, (least + most) / 2, most])
    picture.append(svgPart("line", { class: "rule", x1: CHART_EDGE, x2: CHART_WIDE - 6, y1: y(v), y2: y(v) }), svgPart("text", { x: CHART_EDGE - 5, y: y(v) + 3.5, "text-anchor": "end" }, words(v)));
  picture.append(svgPart("text", { x: CHART_EDGE, y: CHART_HIGH - 4 }, "epoch 1"), svgPart("text", { x: CHART_WIDE - 6, y: CHART_HIGH - 4, "text-anchor": "end" }, String(epochs)));
  for (const [kind, points] of lines) {
    const [last, value] = points[points.length - 1];
    picture.append(svgPart("polyline", { class: kind, points: points.map(p => `${x(p[0]).toFixed(1)},${y(Math.min(most, Math.max(least, p[1]))).toFixed(1)}`).join(" ") }),
      svgPart("circle", { class: kind, r: 3, cx: x(last), cy: y(value) }));
  }
  picture.setAttribute("aria-label", `${title}: ${lines.map(([kind, points]) => `${kind} ${words(points[points.length - 1][1])}`).join(", ")}`);
  box.append(caption, picture);
  return box;
}
function workCurves(work) {
  const box = el("div", "curves"), shares = WORK_CURVES.filter(([name]) => work.curve[name]?.length), loss = work.curve.loss || [];
  if (shares.length) {
    const figure = epochChart("Accuracy", shares.map(([name]) => [name === "training" ? "first" : "second", work.curve[name]]), work.epochs, 0, 1, v => percent(v));
    const key = el("span", "key");
    key.append(...shares.map(([name, words]) => el("i", name === "training" ? "first" : "second", words)));
    figure.firstChild.append(key);
    box.append(figure);
  }
  if (loss.length) box.append(epochChart("Loss", [["first", loss]], work.epochs, 0, Math.max(.1, ...loss.map(p => p[1])), v => v.toFixed(v < 9.95 ? 1 : 0)));
  return box;
}
function workStatus(work) {
  if (!WORK_GOES_ON.has(work.status)) return work.error ? `${WORK_WORDS[work.status]}: ${work.error}` : [WORK_WORDS[work.status], work.note].filter(Boolean).join(": ");
  const { stage, done, total, left } = work, bytes = work.kind === "download" && stage !== "checking" && stage;
  if (work.status === "stopping") return work.kind === "train" ? "ends after this epoch, and keeps the best one so far" : "is stopping";
  if (!stage) return WORK_WORDS[work.status];
  const far = total ? (bytes ? `${fileSize(done)} of ${fileSize(total)}` : `${done.toLocaleString("en")} of ${total.toLocaleString("en")}`) : "";
  return [stage === "training" ? `epoch ${done} of ${total}` : `${stage} ${far}`.trim(), work.best !== null && `best so far ${percent(work.best, 1)} of held-out clips`,
    left > 0 && `${duration(left)} left`].filter(Boolean).join(" · ");
}
function workEntry(work, act) {
  const row = el("li", "work"), head = el("div", "head"), buttons = el("div", "buttons"), busy = WORK_GOES_ON.has(work.status);
  Object.assign(row.dataset, { id: work.id, status: work.status, kind: work.kind });
  head.append(el("b", "", work.title), el("span", "status", workStatus(work)));
  if (busy) buttons.append(button("stop", work.kind === "train" && work.curve.loss ? "Stop, keep the best" : "Stop", () => act("halt", work.id), `Stop ${work.title}`));
  if (busy && work.status === "stopping") buttons.firstChild.disabled = true;
  if (work.resumes) buttons.append(button("resume", "Resume", () => act("proceed", work.id), `Resume ${work.title}`));
  if (!busy) buttons.append(button("remove", "Remove from the list", () => act("discard", work.id), `Remove ${work.title} from the list`));
  row.append(head, buttons);
  if (busy) {
    const bar = el("div", work.total ? "bar" : "bar unknown"), fill = el("div");
    if (work.total) fill.style.width = `${100 * Math.min(1, work.done / work.total)}%`;
    bar.append(fill);
    row.append(bar);
  }
  if (work.curve.loss?.length) row.append(workCurves(work));
  return row;
}

frami.preparing = (element, props, server, watch, trigger) => {
  const root = element.querySelector(".frami-preparing"), said = el("p", "alarm"), list = el("ul"), head = el("h3");
  let works = [], timer = null, asking = false;
  said.setAttribute("role", "alert");
  list.setAttribute("aria-live", "off");
  root.append(head, said, list);
  const going = () => works.some(work => WORK_GOES_ON.has(work.status));
  function draw() {
    const focused = document.activeElement?.closest(".frami-preparing") ? [document.activeElement.className, document.activeElement.closest(".work")?.dataset.id] : null;
    root.dataset.works = works.length;
    root.hidden = !works.length && !said.textContent;
    head.textContent = going() ? "At work" : "Done";
    head.hidden = !works.length;
    list.replaceChildren(...works.map(work => workEntry(work, act)));
    if (focused) list.querySelector(`[data-id="${CSS.escape(focused[1] || "")}"] .${CSS.escape(focused[0] || "none")}`)?.focus({ preventScroll: true });
  }
  function take(next) {
    const before = new Map(works.map(work => [work.id, work.status]));
    works = next;
    draw();
    if (works.some(work => WORK_GOES_ON.has(before.get(work.id)) && !WORK_GOES_ON.has(work.status))) trigger("select", {});
    clearTimeout(timer);
    if (going()) timer = setTimeout(look, document.hidden ? 5 * WORK_PAUSE : WORK_PAUSE);
  }
  async function look() {
    if (asking) return;
    asking = true;
    const reply = await server.work({}).catch(() => null);
    asking = false;
    if (reply?.work) take(reply.work);
    else if (going()) timer = setTimeout(look, 5 * WORK_PAUSE);
  }
  async function act(what, id) { await ask(what, { id }); }
  async function ask(what, request) {
    said.textContent = "";
    const reply = await server[what](request).catch(error => ({ error: frami.plainly(error.message || String(error)) }));
    if (reply?.error) said.textContent = reply.error;
    await look();
    draw();
    if (reply?.begun || reply?.error) root.scrollIntoView({ block: onPhone() ? "start" : "nearest", behavior: "smooth" });
  }
  document.addEventListener("frami-prepare", ({ detail }) => ask(detail.what, detail.request));
  function renewed() {
    if (props.value?.work) take(props.value.work);
    if (props.value?.begun) root.scrollIntoView({ block: onPhone() ? "start" : "nearest", behavior: "smooth" });
  }
  watch("value", renewed);
  renewed();
};
