/* One player for the whole page: equally loud sounds, fetched once, by id, with the chosen vocoder; a volume and a
   loop that the browser remembers. */
import { decoded, NO_ANSWER } from "./core.js";
import { plainly } from "./notices.js";

export const player = new Audio();
let vocoder = "frami";
const sounds = new Map();            // id with vocoder -> { mel, url: promise }
const MOST_SOUNDS = 80;              // of these that are kept
const SHORT = 1;                     // seconds below which a sound is repeated unless the visitor has chosen
const REPEATS = 3, PAUSE = 350;      // how often, and milliseconds between

export const isVocoder = name => name === vocoder;
/* A clip's id with the vocoder to hear it by; sounds that were recorded have none. */
export const withVocoder = id => /^(gallery|run|explore)\//.test(id) ? `${id}~${vocoder}` : id;
export function chooseVocoder(name) {
  vocoder = name;
  document.querySelectorAll(".frami-detail .vocoders button").forEach(b => b.setAttribute("aria-pressed", String(isVocoder(b.dataset.vocoder))));
}

// ---- volume, mute and loop, remembered
const REMEMBERED = "frami-sound", asChosen = { volume: .8, muted: false, loop: null };    // loop null: short sounds only
const soundActs = [];
try {
  const known = JSON.parse(localStorage.getItem(REMEMBERED)) || {};
  if (known.volume >= 0 && known.volume <= 1) asChosen.volume = known.volume;
  asChosen.muted = known.muted === true;
  if (typeof known.loop === "boolean") asChosen.loop = known.loop;
} catch { /* a browser that stores nothing forgets it with the page */ }
function heed() {
  player.volume = asChosen.volume ** 2;    // the ear's scale is not linear
  player.muted = asChosen.muted;
}
heed();
/* { volume: 0..1, muted, loop: true, false or null (short sounds a few times) } */
export const soundSettings = () => ({ ...asChosen });
export function setSound(values) {
  Object.assign(asChosen, values);
  heed();
  try { localStorage.setItem(REMEMBERED, JSON.stringify(asChosen)); } catch { /* as above */ }
  soundActs.forEach(one => one.act());
}
/* Call act whenever the settings change, as long as the box is on the page, and once now. */
export function onSound(act, box) {
  soundActs.splice(0, soundActs.length, ...soundActs.filter(one => one.box.isConnected), { act, box });
  act();
}
/* On an iPhone the keys at its side alone set the volume. */
export const canSetVolume = () => {
  const probe = new Audio();
  probe.volume = .5;
  return probe.volume === .5;
};

// ---- sounds
export async function soundUrl(clip, server) {
  if (clip.url) return clip.url;                                             // the page has it already
  const id = withVocoder(clip.id);
  let entry = sounds.get(id);
  if (!entry || (clip.mel && entry.mel && entry.mel !== clip.mel)) {         // a forming clip keeps its id while its sound changes
    entry?.url.then(URL.revokeObjectURL, () => {});
    entry = { mel: clip.mel, url: fetchSound(id, server) };
  }
  sounds.delete(id);
  sounds.set(id, entry);    // the latest last
  for (const [old, { url }] of sounds) {
    if (sounds.size <= MOST_SOUNDS) break;
    sounds.delete(old);
    url.then(gone => { if (gone !== player.src) URL.revokeObjectURL(gone); }, () => {});
  }
  try { return await entry.url; } catch (error) { sounds.delete(id); throw error; }
}
async function fetchSound(request, server) {
  const reply = await server.wav(request);
  if (!reply || reply.error) throw new Error(reply ? reply.error : NO_ANSWER);
  return URL.createObjectURL(new Blob([decoded(reply.data)], { type: "audio/wav" }));
}
/* The sound as it was made, to save: what is played is brought to one loudness. */
export const originalUrl = (clip, server) => fetchSound({ original: withVocoder(clip.id) }, server);

// ---- playing: one thing at a time; whatever is played next ends what sounded or waited
let turn = 0, forced = null, repeated = 0, later = 0, longest = Infinity, giveUp = () => {};    // forced: times to repeat, whatever is chosen
function take() {
  clearTimeout(later);
  later = 0;
  giveUp(false);
  delete player.dataset.sequence;
  return ++turn;
}
async function begin(clip, server, times, mine) {
  const url = await soundUrl(clip, server);
  if (mine !== turn) return;
  forced = times;
  repeated = 0;
  player.src = url;
  player.dataset.clip = clip.id;
  player.currentTime = 0;
  await player.play();
}
const timesOf = loop => loop === undefined ? null : loop ? Infinity : 0;
function tellTrouble(error) {
  if (error.name === "AbortError") return;
  showTrouble(error.name === "NotAllowedError" ? "This browser plays no sound before a click: press ▶." : error.message || String(error));
}
/* Play a clip. loop: whether it is repeated until something else is played; without it as the visitor has chosen, else
   a short one a few times; most: seconds of it that are played. */
export async function play(clip, server, { loop, most } = {}) {
  if (clip.soundless) { stopSound(); return; }
  const mine = take();
  longest = most ?? Infinity;
  try { await begin(clip, server, timesOf(loop), mine); } catch (error) { tellTrouble(error); }
}
/* Play what lies at an address, under the name of a clip. */
export async function playUrl(url, id) {
  take();
  [forced, repeated, longest, player.src] = [0, 0, Infinity, url];
  player.dataset.clip = id;
  try { await player.play(); } catch (error) { tellTrouble(error); }
}
// More often than the element itself tells.
player.addEventListener("playing", function watchEnd() {
  if (player.paused || player.ended) return;
  if (player.currentTime > longest) stopSound();
  else if (longest < Infinity) setTimeout(watchEnd, 15);
});
/* Play clips one after the other, each(clip, i) as one begins, until anything else is played or it is stopped; loop is
   the last one's, as of play. Resolves to whether all were heard. */
export async function playSequence(clips, server, { pause = 220, each = () => {}, loop = false } = {}) {
  const mine = take();
  longest = Infinity;
  player.dataset.sequence = clips.length;
  try {
    for (const [i, clip] of clips.entries()) {
      const last = i === clips.length - 1;
      if (!last) soundUrl(clips[i + 1], server).catch(() => {});    // while this one sounds
      const heard = new Promise(done => { giveUp = done; });
      await begin(clip, server, last ? timesOf(loop) : 0, mine);    // oxlint-disable-line no-await-in-loop -- in turn
      if (mine !== turn) return false;
      each(clip, i);
      if (!await heard || mine !== turn) return false;    // oxlint-disable-line no-await-in-loop
      if (!last) await pauseOf(pause);    // oxlint-disable-line no-await-in-loop
    }
    return true;
  } catch (error) { tellTrouble(error); return false; } finally { if (mine === turn) delete player.dataset.sequence; }
}
function pauseOf(milliseconds) {
  return new Promise(done => {
    giveUp = done;
    later = setTimeout(() => { later = 0; done(); }, milliseconds);
  });
}
export function stopSound() {
  take();
  player.pause();
  movePlayhead();
}
/* Whether this clip sounds, or is about to be repeated. */
export const isSounding = id => player.dataset.clip === id && (later !== 0 || (!player.paused && !player.ended));
player.addEventListener("ended", () => {
  const chosen = asChosen.loop ?? (player.duration < SHORT ? REPEATS : 0), mine = turn;
  giveUp(true);
  if (repeated++ >= (forced ?? Number(chosen === true ? Infinity : chosen))) return;
  later = setTimeout(() => {
    later = 0;
    if (mine === turn) player.play().catch(() => {});
  }, PAUSE);
  movePlayhead();
});

export function showTrouble(text) {
  const box = document.querySelector(".frami-detail .note, .frami-detail .frami-empty");
  if (!box) return;
  box.setAttribute("role", "alert");
  box.textContent = plainly(text);
}
/* The first sound of a page starts the browser's audio, most of a second: a moment of silence does it ahead. */
export function startAudio() {
  const bytes = new Uint8Array(44 + 2000), header = "RIFF\xf4\x07\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\xd0\x07\0\0";
  for (let i = 0; i < header.length; i++) bytes[i] = header.charCodeAt(i);
  new Audio(URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }))).play().catch(() => {});
}

// the line that moves over a clip's pictures while it sounds; span: the part of its box that a picture takes
function movePlayhead() {
  const moving = !player.paused && !player.ended && player.duration > 0;
  const asked = document.querySelector(".frami-quiz:not([data-answered])"), game = asked?.offsetParent ? asked : null; // nothing else tells which clip it is
  document.querySelectorAll("[data-plays]").forEach(made => {
    const on = isSounding(made.dataset.plays) && (!game || game.contains(made));
    if (made.classList.toggle("sounding", on) !== (made.textContent === "■")) made.textContent = on ? "■" : "▶";
  });
  document.querySelectorAll(".frami-tile, .picture[data-id]").forEach(box => {
    const mine = moving && !game && box.dataset.id === player.dataset.clip;
    box.classList.toggle("playing", mine);
    if (mine) box.querySelector(".playhead").style.left = `${100 * (box.span ?? 1) * player.currentTime / player.duration}%`;
  });
  if (moving) requestAnimationFrame(movePlayhead);
}
["play", "pause", "ended"].forEach(name => player.addEventListener(name, movePlayhead));
player.addEventListener("loadedmetadata", () => soundActs.forEach(one => one.act()));
Object.assign(frami, { player, chooseVocoder, play, playSequence, stopSound, setSound, soundSettings });
