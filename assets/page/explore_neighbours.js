/* In the panel of the selected clip: its nearest neighbours on the map, made and real ones. */
import { button, el } from "./core.js";
import { additions } from "./detail.js";
import { selection } from "./selection.js";
import { paint } from "./spectrogram.js";

/* s: what the map shows; choose(id), hover(point or null): what a click and the pointer do. */
export function showNeighbours(s, choose, hover) {
  const layerOf = near => s.value.layers.find(layer => layer.key === near.layer);
  function tileOf(near) {
    const one = button("", undefined, () => choose(near.id)), text = el("span"), picture = el("canvas");
    const other = near.predicted === near.target ? "" : `, classified as ${near.predicted}`;
    text.append(el("b", "", near.target), el("small", "", `${layerOf(near)?.title || near.layer}${other}`));
    paint(picture, near, s.value.axis);
    one.append(picture, text);
    one.title = `Distance ${near.distance}`;
    one.addEventListener("pointerenter", () => hover(s.byId.get(near.id) || null));
    one.addEventListener("pointerleave", () => hover(null));
    return one;
  }
  additions.push(panel => {
    const { clip } = selection, found = s.details.get(clip.id), old = panel.querySelector(".near");
    if (old && old.dataset.id === clip.id) return;
    old?.remove();
    if (!/^(explore|given)\//.test(clip.id) || !found) return;
    const box = el("div", "near"), real = found.near.filter(near => near.real), made = found.near.filter(near => !near.real);
    box.dataset.id = clip.id;
    box.append(el("h4", "", "Nearest made sounds, by the teacher's features"), ...made.map(tileOf));
    if (real.length) box.append(el("h4", "", "Nearest real sounds"), ...real.map(tileOf));
    else if (document.querySelector("#explore-banks input[value='real']")) box.append(el("p", "hint", "Tick “Recordings” above the map to see the nearest real sounds, too."));
    panel.insertBefore(box, panel.querySelector(".meta"));
  });
}
