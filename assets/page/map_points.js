/* The points of a map, written into the pixels of its picture: each kind of point is drawn once, then copied. Where a
   browser has no graphics card, that takes a fifth of the time of drawing the points one by one. */
const pointSprites = new Map(), pixelColours = new Map();

/* A colour of a style sheet as a pixel, 0xAABBGGRR. */
function pixelOf(colour) {
  if (!pixelColours.has(colour)) {
    const made = document.createElement("canvas"), c = made.getContext("2d", { willReadFrequently: true });
    made.width = made.height = 1;
    c.fillStyle = colour;
    c.fillRect(0, 0, 1, 1);
    const [r, g, b] = c.getImageData(0, 0, 1, 1).data;
    if (pixelColours.size > 400) pixelColours.clear();
    pixelColours.set(colour, (255 << 24 | b << 16 | g << 8 | r) >>> 0);
  }
  return pixelColours.get(colour);
}
/* A point as a list of its pixels: dx, dy from its middle, colour, and how much of it covers (0 to 256). Made clips are
   filled, real ones hollow, those of other panels small; `picked` is the ring around a selected one. */
function pointSprite(kind, colour, size, paper, opacity, ratio) {
  const key = [kind, colour, size.toFixed(2), paper, opacity, ratio].join();
  if (pointSprites.has(key)) return pointSprites.get(key);
  const half = Math.ceil((size + 3) * ratio), made = document.createElement("canvas"), c = made.getContext("2d", { willReadFrequently: true });
  made.width = made.height = 2 * half + 1;
  c.setTransform(ratio, 0, 0, ratio, half + .5, half + .5);
  c.beginPath();
  c.arc(0, 0, { other: 2, real: size - .6, picked: size + 1.8 }[kind] || size, 0, 2 * Math.PI);
  if (kind === "made" || kind === "other") { c.fillStyle = colour; c.fill(); }
  if (kind !== "other") {
    c.lineWidth = kind === "picked" ? 1.6 : kind === "made" ? .8 : size < 4 ? 1.1 : 1.4;
    c.strokeStyle = kind === "made" ? paper : colour;
    c.stroke();
  }
  const { data } = c.getImageData(0, 0, made.width, made.width), found = { half, dx: [], dy: [], pixel: [], cover: [] };
  for (let i = 0; i < data.length; i += 4) {
    if (!data[i + 3]) continue;
    found.dx.push(i / 4 % made.width - half);
    found.dy.push(Math.floor(i / 4 / made.width) - half);
    found.pixel.push((255 << 24 | data[i + 2] << 16 | data[i + 1] << 8 | data[i]) >>> 0);
    found.cover.push(Math.round(opacity * data[i + 3] * 256 / 255));
  }
  if (pointSprites.size > 400) pointSprites.clear();
  pointSprites.set(key, found);
  return found;
}
/* Copies a point to x, y of the pixels, within [left, top, right, bottom]. */
function stampPoint(pixels, width, box, x, y, { half, dx, dy, pixel, cover }) {
  const whole = x - half >= box[0] && y - half >= box[1] && x + half < box[2] && y + half < box[3], at = y * width + x;
  for (let k = 0; k < dx.length; k++) {
    if (!whole && (x + dx[k] < box[0] || x + dx[k] >= box[2] || y + dy[k] < box[1] || y + dy[k] >= box[3])) continue;
    const to = at + dy[k] * width + dx[k], a = cover[k];
    if (a === 256) pixels[to] = pixel[k];
    else {
      const old = pixels[to], b = 256 - a;
      const redBlue = ((pixel[k] & 0xff00ff) * a + (old & 0xff00ff) * b) >>> 8 & 0xff00ff, green = ((pixel[k] & 0xff00) * a + (old & 0xff00) * b) >>> 8 & 0xff00;
      pixels[to] = 0xff000000 | redBlue | green;
    }
  }
}
let keptPixels = null;      // the pixels of the picture, as long as it has this size

/* All points of all panels on a canvas, which they fill with the colour of the paper first. */
export function splatPoints(picture, panels, s, { size, grey, paper, ink }) {
  const ratio = devicePixelRatio || 1, { width, height } = picture;
  if (!width || !height) return;
  if (keptPixels?.width !== width || keptPixels.height !== height) keptPixels = new ImageData(width, height);
  const pixels = new Uint32Array(keptPixels.data.buffer);
  pixels.fill(pixelOf(paper));
  for (const { layer, ...panel } of panels) {
    const box = [panel.x, panel.y, panel.x + panel.w, panel.y + panel.h].map(n => Math.round(n * ratio));
    box[2] = Math.min(box[2], width);
    box[3] = Math.min(box[3], height);
    const put = (p, sprite) => {
      const x = Math.round((p.sx + panel.x) * ratio), y = Math.round((p.sy + panel.y) * ratio), { half } = sprite;
      if (x + half >= box[0] && y + half >= box[1] && x - half < box[2] && y - half < box[3]) stampPoint(pixels, width, box, x, y, sprite);
    };
    const others = layer ? pointSprite("other", grey, size, paper, .16, ratio) : null;
    if (others) for (const p of s.sorted) if (p.layer !== layer && !p.faint) put(p, others);
    const own = new Map();
    for (const p of s.sorted) {
      if ((layer && p.layer !== layer) || (p.faint && s.filters.rest === "hide")) continue;
      const opacity = p.faint ? .1 : p.plain ? .5 : p.layer.real ? .8 : 1, kind = p.layer.real ? "real" : "made", key = `${p.colour}${opacity}${kind}`;
      let sprite = own.get(key);
      if (!sprite) own.set(key, sprite = pointSprite(kind, p.colour, size, paper, opacity, ratio));
      put(p, sprite);
    }
    if (s.selected.size) {
      const ring = pointSprite("picked", ink, size, paper, 1, ratio);
      for (const p of s.points) if (s.selected.has(p.id) && (!layer || p.layer === layer)) put(p, ring);
    }
  }
  picture.getContext("2d").putImageData(keptPixels, 0, 0);
}
