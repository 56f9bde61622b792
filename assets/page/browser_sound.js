/* Sound files as a network takes them. */
import { el } from "./core.js";

const LONGEST_FILE = 30;    // seconds of a file that are looked at, as the studio does

/* The first 30 s of a file's content (ArrayBuffer), mono at this rate: the browser decodes and resamples it. */
export async function decodedSound(content, rate) {
  let sound;
  try { sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(content); } catch { throw new Error("This browser cannot read the file as sound. WAV, MP3, M4A, and OGG in most, are read."); }
  const samples = new Float32Array(Math.min(sound.length, Math.round(LONGEST_FILE * rate)));
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const one = sound.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] += one[i] / sound.numberOfChannels;
  }
  return { samples, seconds: sound.duration, cut: sound.duration > LONGEST_FILE };
}
/* A choice of a file, which may be dropped on the root too: run(its name, () => its content). */
export function fileChoice(root, run) {
  const label = el("label", "file"), input = el("input"), use = file => { if (file && !input.disabled) run(file.name, () => file.arrayBuffer()); };
  Object.assign(input, { type: "file", accept: "audio/*,video/*" });
  label.append(el("span", "", "Choose a file"), input);
  input.addEventListener("change", () => { use(input.files[0]); input.value = ""; });
  root.addEventListener("dragover", event => { event.preventDefault(); root.classList.add("over"); });
  root.addEventListener("dragleave", () => root.classList.remove("over"));
  root.addEventListener("drop", event => { event.preventDefault(); root.classList.remove("over"); use(event.dataTransfer.files[0]); });
  return label;
}
