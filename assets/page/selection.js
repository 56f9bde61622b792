/* The one selected clip, shared by all tabs. `frami-selection` is dispatched when it has changed. */
import { onPhone } from "./core.js";
import { play, stopSound } from "./sound.js";

/* clip (null: none), its axis and server; forming: it is not finished; state: the saved step shown instead of the clip */
export const selection = { clip: null };
export function onSelection(act) { document.addEventListener("frami-selection", act); }
export function change(values) {
  Object.assign(selection, values);
  document.dispatchEvent(new Event("frami-selection"));
}
export function select(clip, axis, server, forming = false) {
  change({ clip, axis, server, forming, state: null });
  uncover(document.activeElement);
  return play(clip, server);
}
/* On a phone the player lies over the foot of the page: what was tapped stays in sight above it. */
function uncover(tapped) {
  const box = document.querySelector("#detail.filled");
  if (!onPhone() || !box || !tapped?.matches(".frami-tile")) return;
  const under = tapped.getBoundingClientRect().bottom - box.getBoundingClientRect().top + 12;
  if (under > 0) scrollBy({ top: under, behavior: "smooth" });
}
export function deselect() {
  stopSound();
  change({ clip: null, state: null });
}
// On a phone the detail lies over the page: it would cover what another tab shows.
document.addEventListener("click", event => {
  if (selection.clip && onPhone() && event.target.closest('[role="tab"]')) deselect();
});
frami.selection = selection;
