/* A student that runs in the visitor's own browser: the Try it tab's part. */
import { openNetwork } from "./browser_network.js";
import { browserPanel } from "./browser_panel.js";
import { fileChoice } from "./browser_sound.js";
import { button, decoded, el, NO_ANSWER } from "./core.js";
import { originalUrl } from "./sound.js";

const chosenSample = () => document.querySelector(".frami-samples button[aria-pressed='true']") || document.querySelector(".frami-samples button");

frami.inbrowser = (element, props, server, watch) => {
  const root = element.querySelector(".frami-inbrowser"), box = el("div", "frami-browser"), none = el("p", "facts", "No student yet: distil one in the Distil tab, and it runs here.");
  const row = el("label", "choice"), choice = el("select");
  row.append(el("span", "", "Student"), choice);
  root.append(el("h3", "", "Run in my browser"), el("p", "facts", "The student itself runs on this device: no sound leaves it, and once it is fetched it needs no network."), row, none, box);

  async function model() {
    const reply = await server.model({ teacher: props.value?.teacher, student: choice.value });
    if (!reply || reply.error) throw new Error(reply?.error || NO_ANSWER);
    const { onnx, ...about } = reply;
    return { bytes: decoded(onnx), about };
  }
  const ready = told => {
    const [script, module] = [props.runtime.script, props.runtime.module].map(name => new URL(name, document.baseURI).href);
    return openNetwork({ runtime: { script, module }, model, told });
  };
  /* The sound that was clicked last, as it is; else the first. */
  async function sample() {
    const url = await originalUrl({ id: chosenSample().dataset.id }, server);
    try { return await (await fetch(url)).arrayBuffer(); } finally { URL.revokeObjectURL(url); }
  }
  const panel = browserPanel(box, { ready, more: run => [button("sample", "Run the clicked sound", () => { if (chosenSample()) run(`“${chosenSample().textContent}”`, sample); }), fileChoice(box, run)] });

  function draw() {
    root.dataset.teacher = props.value?.teacher || "";
    const { students = [] } = props.value || {}, before = choice.value;
    choice.replaceChildren(...students.map(([title, key]) => Object.assign(el("option", "", title), { value: key })));
    if (students.some(([, key]) => key === before)) choice.value = before;
    else panel.reset();
    [row.hidden, none.hidden, box.hidden] = [students.length < 2, students.length > 0, !students.length];
  }
  choice.addEventListener("change", () => panel.reset());
  // another tab was opened
  new ResizeObserver(() => { if (!root.offsetParent && box.dataset.mode === "listening") panel.stop("Listening ended: the page was left."); }).observe(root);
  watch("value", draw);
  draw();
};
