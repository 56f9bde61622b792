/* Pointer, wheel and keys on a map. The page scrolls as ever: only pinching, Ctrl + wheel and dragging belong to the map. */
import { el } from "./core.js";

/* act: map, about(point), choose(id), hover(point or null), ahead(id), showAll(). */
export function listen(canvas, tip, stage, s, { map, about, choose, hover, ahead, showAll }) {
  const held = new Map();                // pointers that are down
  let dragged = 0, spread = 0, dwell = 0;
  function show(event) {
    const found = event && map.under(event), [p, panel] = found || [null];
    canvas.style.cursor = p ? "pointer" : held.size ? "grabbing" : "";
    if (p !== s.hovered) {
      hover(p);
      clearTimeout(dwell);
      if (p) dwell = setTimeout(() => ahead(p.id), 50);
    }
    tip.hidden = !p;
    if (!p) return;
    tip.replaceChildren(el("b", "", about(p)), el("span", "", p.layer.title));
    const x = p.sx + panel.x, y = p.sy + panel.y, half = tip.offsetWidth / 2 + 4;
    tip.style.left = `${Math.min(Math.max(x, half), stage.clientWidth - half)}px`;
    tip.style.top = `${y < 70 ? y + 16 : y - tip.offsetHeight - 14}px`;
  }
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    held.set(event.pointerId, event);
    dragged = spread = 0;
    const found = map.under(event);
    if (found) ahead(found[0].id);
  });
  canvas.addEventListener("pointermove", event => {
    const before = held.get(event.pointerId);
    if (!before) { show(event); return; }
    dragged += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    held.set(event.pointerId, event);
    if (held.size === 2) {
      const [a, b] = [...held.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (spread) map.magnify(now / spread, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
      spread = now;
    } else if (dragged > 6 && (event.pointerType === "mouse" || map.zoomed)) {
      canvas.setPointerCapture(event.pointerId);
      map.move(event.clientX - before.clientX, event.clientY - before.clientY);
      tip.hidden = true;
    }
  });
  canvas.addEventListener("pointerup", event => {
    const found = held.delete(event.pointerId) && dragged < 7 && map.under(event);
    if (found) choose(found[0].id);
    show(event.pointerType === "mouse" ? event : null);
  });
  for (const name of ["pointercancel", "pointerleave"]) canvas.addEventListener(name, event => { held.delete(event.pointerId); show(null); });
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    map.magnify(Math.exp(-event.deltaY / 200), event.clientX, event.clientY);
  }, { passive: false });
  canvas.addEventListener("keydown", event => {
    const here = s.points.find(p => p.id === s.chosen), factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 }[event.key];
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = here ? map.toward(here, event.key) : map.middle();
      if (next) choose(next.id);
    } else if (["Enter", " "].includes(event.key) && here) {
      event.preventDefault();
      choose(here.id);
    } else if (event.key === "Escape" && (s.isolated !== null || s.open !== null || s.query)) showAll();
    else if (factor !== undefined && !event.ctrlKey && !event.metaKey) map.magnify(factor);
  });
}
