/* oxlint-disable require-post-message-target-origin -- a port has none */
/* The microphone, block by block: for what records, what listens live, and what runs in the browser alone. */

/* Runs in the browser's audio thread: its text becomes the processor's, so it refers to nothing outside itself. Blocks
   of 128 samples are gathered to `gathered`; they go to a port that was given, else to the node's own. */
function captureProcessor() {
  class Capture extends AudioWorkletProcessor {
    constructor({ processorOptions }) {
      super();
      this.room = new Float32Array(processorOptions.gathered);
      this.used = 0;
      this.out = this.port;
      this.port.addEventListener("message", ({ data, ports }) => { if (data === "to") [this.out] = ports; });
      this.port.start();
    }
    process([[samples]]) {
      if (!samples) return true;
      this.room.set(samples, this.used);
      this.used += samples.length;
      if (this.used >= this.room.length) {
        this.out.postMessage(this.room.slice());
        this.used = 0;
      }
      return true;
    }
  }
  registerProcessor("frami-capture", Capture);
}

const BLOCK = 128;    // samples of one call of the audio thread

/* A context at this rate where the browser connects a microphone to one (Firefox does not), else at the device's own. */
function contextFor(stream, rate) {
  if (rate) {
    const made = [];
    try {
      made.push(new AudioContext({ sampleRate: rate }));
      return [made[0], made[0].createMediaStreamSource(stream)];
    } catch { made.forEach(one => one.close()); }
  }
  const own = new AudioContext();
  return [own, own.createMediaStreamSource(stream)];
}

/* Open the microphone. Its blocks, Float32Array of at least `seconds`, go to onBlock, or to a MessagePort. rate: that is
   asked for; onEnd: it was taken away. Resolves to the rate that they have, and what ends it. */
export async function openMicrophone({ onBlock, port, rate, seconds = 0, onEnd = () => {} }) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error("This browser gives a page no microphone here (it needs https). Choose a file instead.");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
  const url = URL.createObjectURL(new Blob([`(${captureProcessor})()`], { type: "text/javascript" }));
  let sound = null;
  const stop = () => { stream.getTracks().forEach(track => track.stop()); sound?.close().catch(() => {}); };
  try {
    const [made, source] = contextFor(stream, rate);
    sound = made;
    await sound.audioWorklet.addModule(url);
    const gathered = BLOCK * Math.max(1, Math.round(seconds * sound.sampleRate / BLOCK));
    const node = new AudioWorkletNode(sound, "frami-capture", { processorOptions: { gathered } }), silent = new GainNode(sound, { gain: 0 });
    if (port) node.port.postMessage("to", [port]);
    else { node.port.addEventListener("message", ({ data }) => onBlock(data)); node.port.start(); }
    source.connect(node).connect(silent).connect(sound.destination);
    await sound.resume();
    stream.getTracks().forEach(track => track.addEventListener("ended", onEnd));
  } catch (error) { stop(); throw error; } finally { URL.revokeObjectURL(url); }
  return { rate: sound.sampleRate, stop };
}
export const microphoneTrouble = ({ name, message }) => name === "NotAllowedError" ? "The microphone was not allowed. Allow it for this page in the browser's address bar, or choose a file."
  : name === "NotFoundError" ? "No microphone was found. Connect one, or choose a file."
  : name === "NotReadableError" ? "Another program has the microphone. Close it there, or choose a file." : message;
