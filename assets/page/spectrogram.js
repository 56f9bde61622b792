/* Spectrograms: bytes 0..255 are floor..ceiling of the log-Mel; the picture shows the upper part of that range. */
import { decoded, el } from "./core.js";

// magma (van der Walt and Smith, CC0), interpolated between nine of its colours
export const magma = (() => {
  const anchors = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const at = i / 255 * (anchors.length - 1), k = Math.min(anchors.length - 2, Math.floor(at));
    const [r, g, b] = anchors[k].map((v, j) => Math.round(v + (at - k) * (anchors[k + 1][j] - v)));
    return 255 << 24 | b << 16 | g << 8 | r;
  });
})();

function shade(axis) {
  if (!axis.shade) {
    const from = Math.max(axis.low, axis.high - 95), to = axis.high - 8;
    const table = Uint32Array.from({ length: 256 }, (_, i) => {
      const dB = axis.low + (axis.high - axis.low) * i / 255;
      return magma[Math.round(255 * Math.min(1, Math.max(0, (dB - from) / (to - from))))];
    });
    axis.shade = { table, from, to };
  }
  return axis.shade;
}

/* Of the Mel bands those that the teacher's data has; the others are empty. */
const shownBands = axis => axis.shown || axis.bands;
export function paint(canvas, clip, axis) {
  const bytes = decoded(clip.mel), { table } = shade(axis), bands = shownBands(axis);
  canvas.width = clip.frames; canvas.height = bands;
  const c = canvas.getContext("2d"), image = c.createImageData(clip.frames, bands);
  const pixels = new Uint32Array(image.data.buffer);
  for (let band = 0; band < bands; band++)
    for (let t = 0; t < clip.frames; t++)
      pixels[(bands - 1 - band) * clip.frames + t] = table[bytes[band * clip.frames + t]];
  c.putImageData(image, 0, 0);
}

/* A picture with its axes (s, kHz) and colour bar (dB). */
export function spectrogram(clip, axis) {
  const { from, to } = shade(axis), plot = el("div", "plot"), ylab = el("div", "y"), picture = el("div", "picture"), xlab = el("div", "x");
  picture.dataset.id = clip.id;
  picture.append(el("canvas"), el("span", "playhead"));
  for (const [label, band] of axis.ticks) {
    const tick = el("span", "", label);
    tick.style.bottom = `${Math.min(96, 100 * (band + .5) / shownBands(axis))}%`;
    ylab.append(tick);
  }
  const seconds = clip.frames * axis.frame, step = [.1, .2, .5, 1, 2].find(s => seconds / s <= 5) || 5;
  for (let t = 0; t <= seconds + 1e-9; t += step) {
    const tick = el("span", "", t.toFixed(step < 1 ? 1 : 0));
    tick.style.left = `${100 * t / seconds}%`;
    xlab.append(tick);
  }
  const key = el("div", "key");
  key.append(el("span", "", Math.round(to)), el("div", "ramp"), el("span", "", Math.round(from)), el("span", "unit", "dB"));
  plot.append(el("span", "unit kilo", "kHz"), ylab, picture, key, xlab, el("span", "unit second", "s"));
  paint(picture.firstChild, clip, axis);
  return plot;
}
