/* Sound files as a network takes them. */
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
