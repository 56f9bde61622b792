/* Several clips selected on a map: how many and which, played one after the other, downloaded, how varied they are. */
import { button, counted, decoded, download, el, NO_ANSWER, plural } from "./core.js";
import { plainly } from "./notices.js";
import { playSequence, stopSound } from "./sound.js";

const MOST_MEASURED = 2000;      // clips whose variety is asked for at once

/* Rows of each layer's points, as the server is told them. */
function rowsByLayer(points) {
  const found = {};
  points.forEach(p => (found[p.layer.key] ??= []).push(p.row));
  return found;
}
/* server: selection(request), bundle(request); clips: as of clipLoader; show(points), clear(); draws() draws the map;
   most: clips of one download. */
export function selectionPanel(s, server, clips, { show, clear, draws, most }) {
  const box = el("section", "selection"), title = el("h3"), about = el("p", "about"), variety = el("p", "variety"), row = el("div", "actions"), said = el("p", "said");
  let asked = "", running = false;
  box.setAttribute("aria-label", "Selected clips");
  said.setAttribute("role", "status");
  const playing = button("play-all", "Play in sequence", () => running ? stop() : start());
  const file = button("bundle", "Download (zip)", fetchBundle), zoom = button("zoom-to", "Zoom to it", () => show(points())), away = button("clear", "Clear", clear);
  row.append(playing, file, zoom, away);
  box.append(title, about, variety, row, said);
  box.hidden = true;
  const points = () => s.points.filter(p => s.selected.has(p.id));

  // ---- one after the other
  function say(on) {
    running = on;
    playing.textContent = on ? "Stop" : "Play in sequence";
    box.dataset.playing = on ? "yes" : "no";
    if (on) return;
    said.textContent = "";
    s.hovered = null;
    delete box.dataset.sounds;
    draws();
  }
  function stop() {
    if (running) stopSound();
  }
  async function start() {
    const chosen = points(), all = chosen.filter(p => !p.soundless), left = chosen.length - all.length;
    const skipped = left ? `${plural(left, "clip has", "clips have")} no sound here` : "";
    if (!all.length) { said.textContent = `${skipped}.`; return; }
    say(true);
    await playSequence(all.map(p => ({ id: p.id, mel: "" })), clips.server, { each: (clip, i) => {
      const p = s.hovered = all[i];
      said.textContent = `${i + 1} of ${all.length}: ${s.value.classes[p.predicted]}${skipped && `; ${skipped}`}`;
      box.dataset.sounds = p.id;
      draws();
    } });
    say(false);
    said.textContent = skipped && `${skipped}: left out.`;
  }

  // ---- how varied they are, and the file
  async function measure() {
    const some = points().slice(0, MOST_MEASURED), key = JSON.stringify([s.value.teacher, s.value.keys, some.map(p => p.id)]);
    if (key === asked) return;
    asked = key;
    variety.textContent = some.length > 1 ? "Measuring how varied they are…" : "";
    if (some.length < 2) return;
    try {
      const reply = await server.selection(clips.ask({ rows: rowsByLayer(some) }));
      if (key !== asked) return;
      variety.textContent = reply?.words || reply?.error || "";
      Object.assign(box.dataset, { vendi: reply?.vendi ?? "", mean: reply?.distance ?? "" });
    } catch (error) { if (key === asked) variety.textContent = plainly(error.message || String(error)); }
  }
  async function fetchBundle() {
    const some = points();
    if (some.length > most) { said.textContent = `${counted(some.length)} clips are selected: one file takes at most ${most}. Select fewer.`; return; }
    file.disabled = true;
    said.textContent = "The sounds are being collected…";
    try {
      const reply = await server.bundle(clips.ask({ rows: rowsByLayer(some) }));
      if (!reply || reply.error) throw new Error(reply ? reply.error : NO_ANSWER);
      const url = URL.createObjectURL(new Blob([decoded(reply.data)], { type: "application/zip" }));
      download(url, reply.name);
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      said.textContent = "";
    } catch (error) { said.textContent = plainly(error.message || String(error)); }
    file.disabled = false;
  }
  function draw() {
    const some = points(), counts = new Map();
    box.hidden = !some.length;
    box.dataset.count = some.length;
    if (!some.length) { stop(); asked = ""; return; }
    some.forEach(p => counts.set(p.predicted, (counts.get(p.predicted) || 0) + 1));
    const order = [...counts].toSorted((a, b) => b[1] - a[1]), real = some.filter(p => p.layer.real).length;
    const names = order.slice(0, 5).map(([i, n]) => `${s.value.classes[i]} (${counted(n)})`).join(", ");
    title.textContent = `${plural(some.length, "clip")} selected`;
    about.textContent = `${plural(order.length, "predicted class", "predicted classes")}: ${names}${order.length > 5 ? " and others" : ""}. ${real ? `${counted(real)} real, ${counted(some.length - real)} made.` : "All made."}`;
    measure();
  }
  return { box, draw, stop };
}
