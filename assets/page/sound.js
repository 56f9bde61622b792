/* One player for the whole page; sounds are fetched once, by id, with the chosen vocoder. */
import { decoded } from "./core.js";

export const player = new Audio();
let vocoder = "frami";
const sounds = new Map();            // id with vocoder -> { mel, url: promise }

export const isVocoder = name => name === vocoder;
/* A clip's id with the vocoder to hear it by; sounds that were recorded have none. */
export const withVocoder = id => /^(gallery|run|explore)\//.test(id) ? `${id}~${vocoder}` : id;
export function chooseVocoder(name) {
  vocoder = name;
  document.querySelectorAll(".frami-detail .vocoders button").forEach(b => b.setAttribute("aria-pressed", String(isVocoder(b.dataset.vocoder))));
}

export async function soundUrl(clip, server) {
  const id = withVocoder(clip.id);
  let entry = sounds.get(id);
  if (!entry || entry.mel !== clip.mel) {         // a forming clip keeps its id while its sound changes
    entry?.url.then(URL.revokeObjectURL, () => {});
    entry = { mel: clip.mel, url: fetchSound(id, server) };
    sounds.set(id, entry);
  }
  try { return await entry.url; } catch (error) { sounds.delete(id); throw error; }
}
async function fetchSound(id, server) {
  const reply = await server.wav(id);
  if (!reply || reply.error) throw new Error(reply ? reply.error : "no reply from the server");
  return URL.createObjectURL(new Blob([decoded(reply.data)], { type: "audio/wav" }));
}
export async function play(clip, server) {
  try {
    player.src = await soundUrl(clip, server);
    player.dataset.clip = clip.id;
    player.currentTime = 0;
    await player.play();
  } catch (error) {
    if (error.name !== "AbortError") showTrouble(error.message || String(error));
  }
}
export function showTrouble(text) {
  const box = document.querySelector(".frami-detail .note, .frami-detail .frami-empty");
  if (!box) return;
  box.setAttribute("role", "alert");
  box.textContent = text;
}
/* The first sound of a page starts the browser's audio, most of a second: a moment of silence does it ahead. */
export function startAudio() {
  const bytes = new Uint8Array(44 + 2000), header = "RIFF\xf4\x07\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\xd0\x07\0\0";
  for (let i = 0; i < header.length; i++) bytes[i] = header.charCodeAt(i);
  new Audio(URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }))).play().catch(() => {});
}

// the line that moves over a clip's pictures while it sounds; span: the part of its box that a picture takes
function movePlayhead() {
  const on = !player.paused && !player.ended && player.duration > 0;
  document.querySelectorAll(".frami-tile, .frami-detail .picture").forEach(box => {
    const mine = on && box.dataset.id === player.dataset.clip;
    box.classList.toggle("playing", mine);
    if (mine) box.querySelector(".playhead").style.left = `${100 * (box.span ?? 1) * player.currentTime / player.duration}%`;
  });
  if (on) requestAnimationFrame(movePlayhead);
}
["play", "pause", "ended"].forEach(name => player.addEventListener(name, movePlayhead));
frami.player = player;
frami.chooseVocoder = chooseVocoder;
