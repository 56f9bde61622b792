/* The sound that a network looked at, as a waveform. */
import { context, css } from "./core.js";

export function drawWave(canvas, samples) {
  const width = canvas.clientWidth || 300, height = canvas.clientHeight || 56, c = context(canvas, width, height), columns = Math.floor(width / 3);
  c.fillStyle = css(canvas, "--frami-s1") || "#b5306f";
  let most = .02;
  for (const value of samples) most = Math.max(most, Math.abs(value));
  for (let k = 0; k < columns; k++) {
    const [begin, end] = [k, k + 1].map(n => Math.floor(n * samples.length / columns));
    let loud = 0;
    for (let i = begin; i < end; i++) loud = Math.max(loud, Math.abs(samples[i]));
    const tall = Math.max(2, height * loud / most);
    c.fillRect(3 * k, (height - tall) / 2, 2, tall);
  }
}
