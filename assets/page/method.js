/* The Method tab: noise, a clip that forms, what the teacher predicts of it, the curve of its student; one picture. */
import { amount, bars, button, duration, el, percent } from "./core.js";
import { play } from "./sound.js";
import { paint } from "./spectrogram.js";
import { svgPart } from "./teachers_work.js";

const METHOD_METRICS = { accuracy: "of held-out recordings classified correctly", agreement: "agreement with the teacher", kd: "KD loss" };
const [STORY_WIDE, STORY_HIGH] = [300, 150];

function stage(number, title, words, ...content) {
  const box = el("section", "stage"), head = el("h4");
  head.append(el("i", "", String(number)), el("span", "", title));
  box.append(head, el("p", "", words), ...content);
  return box;
}
/* The student's curve with its teacher's level. */
function studentCurve({ curve, metric, teacher_accuracy: level }) {
  const picture = svgPart("svg", { viewBox: `0 0 ${STORY_WIDE} ${STORY_HIGH}`, role: "img" }), end = curve[curve.length - 1][0];
  const most = metric === "kd" ? Math.max(...curve.map(p => p[1])) : 1, words = v => metric === "kd" ? v.toFixed(1) : percent(v);
  const x = t => 36 + t / end * (STORY_WIDE - 46), y = v => STORY_HIGH - 22 - v / most * (STORY_HIGH - 34);
  for (const v of [0, most / 2, most])
    picture.append(svgPart("line", { class: "rule", x1: 36, x2: STORY_WIDE - 10, y1: y(v), y2: y(v) }), svgPart("text", { x: 31, y: y(v) + 3.5, "text-anchor": "end" }, words(v)));
  picture.append(svgPart("text", { x: 36, y: STORY_HIGH - 6 }, "0 s"), svgPart("text", { x: STORY_WIDE - 10, y: STORY_HIGH - 6, "text-anchor": "end" }, duration(end)));
  if (metric === "accuracy" && level)
    picture.append(svgPart("line", { class: "teacher", x1: 36, x2: STORY_WIDE - 10, y1: y(level), y2: y(level) }), svgPart("text", { class: "level", x: STORY_WIDE - 10, y: y(level) + 27, "text-anchor": "end" }, `the teacher: ${percent(level, 1)}`));
  picture.append(svgPart("polyline", { points: curve.map(p => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" ") }),
    svgPart("circle", { r: 3.5, cx: x(end), cy: y(curve[curve.length - 1][1]) }));
  picture.setAttribute("aria-label", `${METHOD_METRICS[metric]}, from ${words(curve[0][1])} to ${words(curve[curve.length - 1][1])} after ${duration(end)}`);
  return picture;
}

frami.method = (element, props, server, watch, trigger) => {
  const root = element.querySelector(".frami-method");
  let waiting = null, shown = "";
  function draw() {
    const { states, axis, student, target, title, asked, teacher, later } = props.value || {}, sent = JSON.stringify(props.value);
    root.dataset.teacher = teacher || "";
    if (later && root.offsetParent && waiting !== asked) { waiting = asked; trigger("select", {}); }
    if (!states) { if (!root.firstChild) root.append(el("p", "frami-empty", "The picture comes when its clip is there…")); return; }
    waiting = null;
    if (sent === shown) return;   // sent once more: what was chosen in it stays
    shown = sent;
    const row = el("div", "states"), verdict = el("div", "bars"), said = el("p", "said"), steps = states.map(clip => {
      const made = button("state", undefined, () => choose(clip, true), `Step ${clip.step}: the teacher predicts ${clip.predicted}. Play`), canvas = el("canvas");
      paint(canvas, clip, axis);
      made.append(canvas, el("span", "", clip === states[0] ? `start: step ${clip.step}` : `step ${clip.step}`));
      row.append(made);
      return made;
    });
    function choose(clip, sounds) {
      steps.forEach((made, k) => made.setAttribute("aria-pressed", String(states[k] === clip)));
      verdict.replaceChildren(...bars(clip.top.slice(0, 4), target));
      said.textContent = `at step ${clip.step}, asked for: ${target}`;
      if (sounds) play(clip, server);
    }
    const { curve } = student, share = student.metric !== "kd" && percent(curve[curve.length - 1][1], 1);
    root.replaceChildren(
      stage(1, "A clip forms out of noise", `Made for “${target}” from the weights of the teacher “${title}” alone. Click a step to hear it.`, row),
      stage(2, "The teacher predicts", "Its most probable classes for the step that you clicked.", verdict, said),
      stage(3, "A student learns from such clips", `${amount(student.parameters)} parameters, the teacher has ${amount(student.teacher_parameters)}. ${share ? `After ${duration(curve[curve.length - 1][0])}: ${share} ${METHOD_METRICS[student.metric]}.` : ""}`, studentCurve(student)),
      ...asked !== teacher ? [el("p", "other", `Shown for “${title}”: the chosen teacher has no bundled gallery and student.`)] : []);
    choose(states[states.length - 1], false);
  }
  watch("value", draw);
  draw();
};

frami.cite = (element, props) => {
  const root = element.querySelector(".frami-cite"), { text } = props.value || {};
  if (!text) return;
  const said = el("span", "said"), copy = button("copy", "Copy the citation", async () => {
    try { await navigator.clipboard.writeText(text); said.textContent = "copied"; }
    catch {   // not allowed here: it is marked, to be copied by hand
      getSelection().selectAllChildren(root.querySelector("pre"));
      said.textContent = "marked: copy it with Ctrl+C";
    }
  });
  said.setAttribute("role", "status");
  const box = el("pre", "", text);
  box.tabIndex = 0;
  root.replaceChildren(box, copy, said);
};
