/* In the panel of the selected clip: its nearest neighbours on the map. */
import { button, el } from "./core.js";
import { additions } from "./detail.js";
import { selection } from "./selection.js";
import { paint } from "./spectrogram.js";

/* s: what the map shows; choose(id), hover(point or null): what a click and the pointer do. */
export function showNeighbours(s, choose, hover) {
  additions.push(panel => {
    const { clip } = selection, found = s.details.get(clip.id), old = panel.querySelector(".near");
    if (old && old.dataset.id === clip.id) return;
    old?.remove();
    if (!clip.id.startsWith("explore/") || !found) return;
    const box = el("div", "near");
    box.dataset.id = clip.id;
    box.append(el("h4", "", "Nearest neighbours, by the teacher's features"));
    for (const near of found.near) {
      const one = button("", undefined, () => choose(near.id)), text = el("span"), picture = el("canvas");
      text.append(el("b", "", near.target), el("small", "", s.value.layers.find(layer => layer.key === near.layer)?.title || near.layer));
      paint(picture, near, s.value.axis);
      one.append(picture, text);
      one.title = `Distance ${near.distance}`;
      one.addEventListener("pointerenter", () => hover(s.points.find(p => p.id === near.id) || null));
      one.addEventListener("pointerleave", () => hover(null));
      box.append(one);
    }
    panel.insertBefore(box, panel.querySelector(".meta"));
  });
}
