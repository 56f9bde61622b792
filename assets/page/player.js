/* What a player is set by: loop, mute, volume. On a phone the panel of the selected clip is a bar that opens. */
import { button, el, onPhone } from "./core.js";
import { canSetVolume, onSound, player, setSound, soundSettings } from "./sound.js";

const SIGNS = {
  loop: "M17 2l4 4-4 4 M3 11V9a3 3 0 0 1 3-3h15 M7 22l-4-4 4-4 M21 13v2a3 3 0 0 1-3 3H3",
  loud: "M4 9v6h4l5 4V5L8 9H4 M16 9a4 4 0 0 1 0 6 M18.5 6.5a8 8 0 0 1 0 11",
  mute: "M4 9v6h4l5 4V5L8 9H4 M16.5 9.5l5 5 M21.5 9.5l-5 5",
};
function sign(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SIGNS[name]);
  svg.append(path);
  return svg;
}
/* Whether what sounds now is repeated as the visitor left it. */
const loops = () => soundSettings().loop ?? (player.duration > 0 && player.duration < 1);

export function soundControls() {
  const box = el("div", "sound"), slider = el("input");
  const loop = button("loop", undefined, () => setSound({ loop: !loops() }), "Repeat");
  const mute = button("mute", undefined, () => setSound({ muted: !soundSettings().muted }), "Mute");
  loop.append(sign("loop"));
  loop.title = "Repeat";
  Object.assign(slider, { type: "range", min: 0, max: 1, step: .05 });
  slider.setAttribute("aria-label", "Volume");
  slider.addEventListener("input", () => setSound({ volume: Number(slider.value), muted: false }));
  slider.hidden = !canSetVolume();
  const say = () => {
    const { volume, muted } = soundSettings(), silent = muted || volume === 0;
    loop.setAttribute("aria-pressed", String(loops()));
    mute.setAttribute("aria-pressed", String(silent));
    mute.title = silent ? "Sound on" : "Mute";
    mute.replaceChildren(sign(silent ? "mute" : "loud"));
    slider.value = volume;
  };
  onSound(say, box);
  box.append(loop, mute, slider);
  return box;
}
/* Opens and closes the panel, where it is a bar at the foot of a phone. */
export function expander(root, title) {
  const made = button("more", "⌃", () => say(root.classList.toggle("open")), "Details");
  const say = open => made.setAttribute("aria-expanded", String(open));
  say(root.classList.contains("open"));
  title.addEventListener("click", () => { if (onPhone()) made.click(); });
  return made;
}
