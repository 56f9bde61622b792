/* Pointer, wheel and keys on a map. The wheel zooms once the pointer has moved over the map, and scrolls the page where
   the map is as small or as large as it gets; Ctrl + wheel belongs to the browser. */
import { placeTip } from "./explore_tip.js";

const CLICK_REACH = 7;      // pixels within which a press is a click

/* act: map, about(point), choose(id), hover(point or null, event), rest(point, event), lasso(points), lassoing(), showAll(). */
export function listen(canvas, tip, stage, s, { map, about, choose, hover, rest, lasso, lassoing, showAll }) {
  const held = new Map();                // pointers that are down
  let dragged = 0, spread = 0, dwell = 0, armed = false;
  function show(event) {
    const found = event && map.under(event), [p, panel] = found || [null];
    canvas.style.cursor = p ? "pointer" : held.size ? "grabbing" : lassoing() ? "crosshair" : "";
    if (p !== s.hovered) {
      hover(p);
      clearTimeout(dwell);
      if (p) dwell = setTimeout(() => rest(p, event), 60);
    }
    tip.hidden = !p;
    if (p) placeTip(tip, p, panel, about(p), map, stage, s);
  }
  const seeFrame = oncePerFrame(event => { if (!held.size) show(event); });
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    held.set(event.pointerId, event);
    dragged = spread = 0;
    s.lasso = null;
    if (held.size === 1 && (lassoing() || event.shiftKey)) {
      s.lasso = [map.inCanvas(event)];
      canvas.setPointerCapture(event.pointerId);
      return;
    }
    const found = map.under(event);
    if (found) rest(found[0], null);
  });
  canvas.addEventListener("pointermove", event => {
    const before = held.get(event.pointerId);
    if (event.movementX || event.movementY) armed = true;
    if (!before) { seeFrame(event); return; }
    dragged += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    held.set(event.pointerId, event);
    if (s.lasso && held.size === 1) {
      s.lasso.push(map.inCanvas(event));
      tip.hidden = true;
      map.draw();
    } else if (held.size === 2) {
      s.lasso = null;
      const [a, b] = [...held.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (spread) map.magnify(now / spread, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
      spread = now;
    } else if (dragged >= CLICK_REACH && (event.pointerType === "mouse" || map.zoomed)) {
      canvas.setPointerCapture(event.pointerId);
      map.move(event.clientX - before.clientX, event.clientY - before.clientY);
      tip.hidden = true;
    }
  });
  canvas.addEventListener("pointerup", event => {
    const was = held.delete(event.pointerId), path = s.lasso;
    s.lasso = null;
    if (was && path && dragged >= CLICK_REACH) lasso(map.within(path));
    else {
      const found = was && dragged < CLICK_REACH && map.under(event);
      if (found) choose(found[0].id);
      else if (path) map.draw();
    }
    show(event.pointerType === "mouse" ? event : null);
  });
  for (const name of ["pointercancel", "pointerleave"]) canvas.addEventListener(name, event => {
    if (name === "pointerleave" && held.has(event.pointerId) && s.lasso) return;
    held.delete(event.pointerId);
    s.lasso = null;
    show(null);
  });
  addEventListener("scroll", () => { armed = false; }, { passive: true, capture: true });
  canvas.addEventListener("wheel", event => {
    if (event.ctrlKey || event.metaKey || !armed || !map.canZoom(event.deltaY < 0)) return;
    event.preventDefault();
    tip.hidden = true;
    map.magnify(Math.exp(-Math.max(-120, Math.min(120, event.deltaY * (event.deltaMode ? 30 : 1))) / 300), event.clientX, event.clientY);
  }, { passive: false });
  canvas.addEventListener("dblclick", () => { if (map.zoomed) map.magnify(0); });
  canvas.addEventListener("keydown", event => {
    const here = s.byId.get(s.chosen), factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 }[event.key];
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = here ? map.toward(here, event.key) : map.middle();
      if (next) choose(next.id);
    } else if (["Enter", " "].includes(event.key) && here) {
      event.preventDefault();
      choose(here.id);
    } else if (event.key === "Escape") showAll();
    else if (factor !== undefined && !event.ctrlKey && !event.metaKey) map.magnify(factor);
  });
}
/* A function that is called once a frame at most, with the last event. */
function oncePerFrame(act) {
  let last = null;
  return event => {
    if (!last) requestAnimationFrame(() => { const now = last; last = null; act(now); });
    last = event;
  };
}
