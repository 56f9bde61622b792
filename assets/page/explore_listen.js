/* Hearing the clips of a map: what a click, the arrow keys and the pointer play. */
import { percent } from "./core.js";
import { plainly } from "./notices.js";
import { select } from "./selection.js";
import { play, player, stopSound } from "./sound.js";

/* A point in words: its class, and what the teacher takes it for. */
export function aboutPoint(s, p) {
  const name = s.value.classes[p.predicted], sure = `confidence ${percent(p.confidence)}`;
  if (p.star) return `Your sound, classified as ${name}, ${sure}`;
  return p.label === p.predicted ? `${name}, ${sure}` : `${s.value.classes[p.label]}, classified as ${name}`;
}
/* playing(): whether hovering plays; several(): the panel of several clips; status, spoken: where it is said. */
export function mapListening(s, root, map, clips, { playing, several, status, spoken }) {
  let silent = false, walk = 0, played = null;
  async function choose(id) {
    const own = ++walk, p = s.byId.get(id);
    if (!p) return;
    silent = true;
    several().stop();
    s.chosen = root.dataset.selected = id;
    spoken.textContent = `${aboutPoint(s, p)}, ${p.star ? "given" : p.layer.real ? "real" : "made"}. ${p.layer.title}.`;
    map.draw();
    try {
      clips.fetchSound(id);
      const found = await clips.detail(id);
      if (own !== walk) return;
      await select(found.clip, s.value.axis, clips.server);
      map.draw();
      const next = [...["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].map(key => map.toward(p, key)?.id), ...found.near.map(near => near.id)];
      for (const other of new Set(next.filter(Boolean))) {
        if (own !== walk) return;
        await clips.ahead(other);    // oxlint-disable-line no-await-in-loop -- one after the other, so that a click goes first
      }
    } catch (error) { status.textContent = plainly(error.message || String(error)); }
  }
  player.addEventListener("playing", () => {
    if (!silent || player.dataset.clip !== s.chosen) return;
    root.dataset.sounded = s.chosen;
    silent = false;
  });
  /* The pointer is over a point, or over none: what it played falls silent soon. */
  const hover = p => {
    s.hovered = p;
    map.draw();
    if (!p && played) setTimeout(() => { if (!s.hovered && played && player.dataset.clip === played && s.chosen !== played) { stopSound(); played = null; } }, 300);
  };
  /* The pointer rests on a point: its sound and neighbours are fetched, and it plays where that is wanted. */
  async function rest(p, event) {
    const loud = event?.pointerType === "mouse" && playing();
    if (!loud) { clips.ahead(p.id); return; }
    clips.fetchSound(p.id);
    const found = await clips.detail(p.id).catch(() => null);
    if (!found || s.hovered !== p) return;
    map.draw();
    several().stop();
    played = p.id;
    root.dataset.hovered = p.id;
    play(found.clip, clips.server);
  }
  return { choose, hover, rest };
}
