/* A wall of clips, each a button with its picture: click to select and hear, arrow keys walk from one to the next. */
import { el, percent } from "./core.js";
import { onSelection, select, selection } from "./selection.js";
import { play, player, showTrouble } from "./sound.js";
import { paint } from "./spectrogram.js";

const inSight = made => !made.closest("[hidden]");
const RESTING = 220;   // milliseconds
let clicked = null;    // the tile that was clicked last: a picture that comes later than the next click selects nothing

function tile(server) {
  const made = el("button", "frami-tile");
  made.type = "button";
  const sign = el("span", "sign", "▶");
  sign.setAttribute("aria-hidden", "true");
  made.append(el("canvas"), el("span", "playhead"), sign, el("span", "name"), el("span", "share"));
  const chosen = clip => select(clip, made.axis, server, made.dataset.state === "forming");
  made.addEventListener("click", () => {
    clicked = made;
    if (made.clip.mel) chosen(made.clip);
    else made.whole(made.clip).then(clip => { if (clicked === made) chosen(clip); }, error => showTrouble(error.message));
  });
  // Once the visitor has clicked something, a mouse that comes to rest on a tile plays it; tiles that scroll under a
  // mouse do not.
  let resting = 0;    // a timer; other than 0 until the mouse has left
  made.addEventListener("pointermove", event => {
    if (resting || event.pointerType !== "mouse" || !clicked || player.dataset.sequence || made.dataset.state === "forming") return;
    resting = setTimeout(() => { if (made.clip.mel && player.dataset.clip !== made.clip.id) play(made.clip, server); }, RESTING);
  });
  for (const [name, after] of [["pointerleave", 0], ["pointerdown", -1]])
    made.addEventListener(name, () => { clearTimeout(resting); resting = after; });
  made.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = [...made.closest(".frami-wall, .frami-live").querySelectorAll(".frami-tile")].filter(inSight);
    const next = step && all[all.indexOf(made) + step];
    if (next) { event.preventDefault(); next.focus(); next.click(); }
  });
  return made;
}
function update(made, clip, axis, state, longest) {
  const right = clip.predicted === clip.target, words = `classified as ${clip.predicted}`;
  if (clip.mel && made.clip?.mel !== clip.mel) paint(made.firstChild, clip, axis);
  // tiles on one wall share one scale of time
  Object.assign(made, { clip, axis, longest, span: clip.frames / Math.max(clip.frames, longest) });
  Object.assign(made.dataset, { id: clip.id, state });
  made.classList.toggle("missed", !right);
  made.firstChild.style.width = `${100 * made.span}%`;
  made.querySelector(".sign").style.right = `calc(${100 * (1 - made.span)}% + .35rem)`;
  made.querySelector(".name").textContent = clip.target;
  made.querySelector(".share").textContent = right ? percent(clip.confidence) : words;
  made.title = right ? clip.target : `${clip.target}, ${words}`;
  made.setAttribute("aria-label", `${clip.untargeted ? "" : `${clip.target}, `}${words}, confidence ${percent(clip.confidence)}. Play`);
  made.setAttribute("aria-pressed", String(selection.clip?.id === clip.id));
}
/* The same tile with its clip as it is now. */
export const renew = (made, clip) => update(made, clip, made.axis, made.dataset.state, made.longest);
/* Tiles of these clips in a box; one whose clip is there already is renewed in place. */
export function fill(box, clips, axis, server, state, longest) {
  const have = new Map([...box.children].map(made => [made.dataset.id, made]));
  clips.forEach((clip, i) => {
    const made = have.get(clip.id) || tile(server);
    have.delete(clip.id);
    update(made, clip, axis, state, longest);
    if (box.children[i] !== made) box.insertBefore(made, box.children[i] || null);
  });
  have.forEach(made => made.remove());
}
/* One tile of a wall is a tab stop, the arrows walk from there. */
export function setTabStop(root) {
  const all = [...root.querySelectorAll(".frami-tile")].filter(inSight);
  const stop = all.find(made => made === document.activeElement) || all.find(made => made.getAttribute("aria-pressed") === "true") || all[0];
  all.forEach(made => { made.tabIndex = made === stop ? 0 : -1; });
}
onSelection(() => {
  document.querySelectorAll(".frami-tile").forEach(made => made.setAttribute("aria-pressed", String(selection.clip?.id === made.dataset.id)));
  document.querySelectorAll(".frami-wall, .frami-live").forEach(setTabStop);
});
