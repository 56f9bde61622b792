/* A sound that the visitor gave in Try it, as a star on the map with its nearest neighbours. */
import { openTab } from "./address.js";
import { el, NO_ANSWER, percent } from "./core.js";
import { plainly } from "./notices.js";

let starPlace = null;      // set by the map once it is there
let starWaiting = null;         // a sound that was given before

/* Opens the map and shows there where the sound with this token lies. */
export function showOnMap(token, teacher) {
  starWaiting = { token, teacher };
  openTab("explore");
  starPlace?.();
}
/* server: placed(request); act: ask(more), draw(), say(words), choose(id). The star is s.star: null or a point with `near`. */
export function mapStar(s, server, { ask, draw, say, choose }) {
  const box = el("div", "given");
  box.hidden = true;
  function place() {
    const star = s.star, at = star && (star.places[s.choice.projection === "umap" && s.value.umap ? "umap" : "pca"] || star.places.pca);
    if (at) [star.x, star.y] = at;
  }
  async function fetchPlace(quiet = false) {
    if (!starWaiting || !s.value.layers.length || s.value.teacher !== starWaiting.teacher) return;
    const { token, teacher } = starWaiting;
    starWaiting = null;
    say("Your sound is being placed…");
    try {
      const found = await server.placed(ask({ token }));
      if (s.value.teacher !== teacher) { say(""); return; }     // another map is shown by now
      if (!found || found.error) throw new Error(found ? found.error : NO_ANSWER);
      const layer = { title: "placed by its five nearest clips", real: true, key: "" };
      s.star = { ...found, id: found.clip.id, token, star: true, layer, faint: false };
      s.byId.set(s.star.id, s.star);
      s.details.set(s.star.id, { clip: found.clip, near: found.near });
      show();
      say("");
      if (!quiet) choose(s.star.id);
    } catch (error) { say(s.value.teacher === teacher ? plainly(error.message || String(error)) : ""); }
  }
  function show() {
    const star = s.star;
    box.hidden = !star;
    if (star) {
      const away = el("button", "", "×"), [best, share] = star.clip.top[0];
      away.type = "button";
      away.setAttribute("aria-label", "Take your sound off the map");
      away.addEventListener("click", () => { s.star = null; show(); draw(); });
      box.replaceChildren(el("b", "", "★ Your sound"), el("span", "", `classified as ${best}, ${percent(share)}. It stands at the mean of its five nearest clips by the teacher's features, the nearer ones counting more.`), away);
      place();
    }
    root().dataset.star = star ? star.id : "";
    s.version++;    // the star is laid out with the points
    draw();
  }
  const root = () => box.closest(".frami-explore");
  /* When other layers or another teacher are shown, it is placed among them anew. */
  function renew(other) {
    if (!s.star) { fetchPlace(); return; }
    const { token } = s.star;
    s.star = null;
    if (other || starWaiting) { show(); fetchPlace(); return; }
    starWaiting = { token, teacher: s.value.teacher };
    fetchPlace(true);
  }
  starPlace = fetchPlace;
  return { box, place, renew, fetchPlace };
}
