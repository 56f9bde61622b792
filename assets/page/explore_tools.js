/* Tools of the map: whether hovering plays, the lasso, contours. */
import { button, el } from "./core.js";

const HOVER_KEY = "frami-play-on-hover";
const hasMouse = () => matchMedia("(hover: hover) and (pointer: fine)").matches;

function hoverRemembered() {
  try { return localStorage.getItem(HOVER_KEY) !== "no"; } catch { return true; }
}
function toggleSwitch(words, title, on, act) {
  const label = el("label", "switch"), input = el("input");
  Object.assign(input, { type: "checkbox", checked: on });
  input.setAttribute("role", "switch");
  input.addEventListener("change", () => act(input.checked));
  label.append(input, el("span", "", words));
  label.title = title;
  return label;
}
/* redraw(): draw the map again. lasso(on?) sets or tells whether dragging selects; playing() whether hovering plays. */
export function mapTools(s, stage, redraw) {
  const box = el("div", "tools");
  let hovering = hoverRemembered(), drawing = false;
  const sound = toggleSwitch("Play on hover", "A clip plays while the pointer is over it", hovering, on => {
    hovering = on;
    try { localStorage.setItem(HOVER_KEY, on ? "yes" : "no"); } catch { /* it is forgotten with the page */ }
  });
  sound.hidden = !hasMouse();
  const contours = toggleSwitch("Density", "Lines around where clips lie densely", s.choice.density, on => { s.choice.density = on; redraw(); });
  const tool = button("lasso", "Lasso", () => lasso(!drawing), "Lasso: drag around clips to select them; Shift and drag does so, too");
  tool.title = "Drag around clips to select them (or Shift and drag)";
  tool.setAttribute("aria-pressed", "false");
  box.append(tool, contours, sound);
  function lasso(on) {
    if (on !== undefined) {
      drawing = on;
      tool.setAttribute("aria-pressed", String(on));
      stage.classList.toggle("lassoing", on);
    }
    return drawing;
  }
  /* Browsers play nothing before the first click of a page. */
  const playing = () => hovering && navigator.userActivation?.hasBeenActive !== false;
  const draw = () => { contours.firstChild.checked = s.choice.density; };
  return { box, lasso, playing, draw };
}
/* Buttons that zoom; factor 0 shows the whole map. */
export function zoomButtons(magnify) {
  const box = el("div", "zoom");
  for (const [sign, words, factor] of [["+", "Zoom in", 1.5], ["−", "Zoom out", 1 / 1.5], ["⤢", "Show the whole map", 0]]) {
    box.append(button("", sign, () => magnify(factor), words));
    box.lastChild.title = words;
  }
  return box;
}
