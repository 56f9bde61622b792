/* Colours of the points of a map and the legend that names them; s: what the map shows (see explore.js). */
import { button, css, el } from "./core.js";
import { magma } from "./spectrogram.js";

const LIGHT = ["#3b62c9", "#c77700", "#d63f3f", "#148573", "#4a8a1f", "#c93e8f", "#7d46c4", "#1187bd", "#8a5a3b", "#6b7280"];
const DARK = ["#86a5ff", "#f5b53d", "#ff7d70", "#4cd3b8", "#97d65c", "#ff8ac8", "#bd93fa", "#67c8f7", "#d2a37f", "#aab2bf"];
const ORDER = [2, 0, 1, 3, 4, 5, 6, 7, 8, 9];   // of colours, for recipes
const isDark = () => document.querySelector(".dark") !== null;
const nth = (i, n = 1) => n <= 10 ? (isDark() ? DARK : LIGHT)[i % 10] : `hsl(${(i * 137.5) % 360} 62% ${isDark() ? 68 : 42}%)`;
const ramp = share => {
  const c = magma[Math.round(isDark() ? 90 + 150 * share : 205 - 165 * share)];
  return `rgb(${c & 255} ${c >> 8 & 255} ${c >> 16 & 255})`;
};

/* Groups of points by the chosen colour: name, colour, and which points they have. */
function groups({ choice, value: { classes, layers } }, root) {
  const made = layers.filter(layer => !layer.real), grey = css(root, "--frami-real");
  switch (choice.colour) {
    case "class": return classes.map((name, i) => ({ name, colour: nth(i, classes.length), has: p => p.label === i }));
    case "recipe": return layers.map(layer => ({
      name: layer.title, real: layer.real, colour: layer.real ? grey : nth(ORDER[made.indexOf(layer) % 10]), has: p => p.layer === layer,
    }));
    case "origin": return [
      { name: "made", colour: nth(2), has: p => !p.layer.real },
      ...made.length < layers.length ? [{ name: "real", real: true, colour: nth(0), has: p => p.layer.real }] : [],
    ];
    default: return [];
  }
}
export function paintPoints(s, root) {
  const all = groups(s, root);
  s.points.forEach(p => {
    p.colour = s.choice.colour === "confidence" ? ramp(p.confidence) : all.find(group => group.has(p))?.colour;
    p.faint = s.isolated !== null && all[s.isolated] && !all[s.isolated].has(p);
  });
}
/* isolate(i): what a click on group i does. */
export function drawLegend(legend, s, root, isolate) {
  legend.replaceChildren();
  if (s.choice.colour === "confidence") {
    const bar = el("span", "ramp");
    bar.style.background = `linear-gradient(to right, ${[0, .25, .5, .75, 1].map(ramp).join(",")})`;
    legend.append(el("span", "", "Confidence of the teacher: 0 %"), bar, el("span", "", "100 %"));
  }
  groups(s, root).forEach((group, i) => {
    const count = s.points.filter(group.has).length, alone = s.isolated === i;
    if (!count) return;
    const one = button("", undefined, () => isolate(i)), mark = el("i", group.real ? "hollow" : "");
    mark.style.color = group.colour;
    one.append(mark, el("span", "", group.name), el("small", "", count));
    one.setAttribute("aria-pressed", String(alone));
    one.title = alone ? "Show all" : `Show only: ${group.name}`;
    legend.append(one);
  });
  const kinds = new Set(s.value.layers.map(layer => Boolean(layer.real)));
  if (kinds.size > 1 && s.choice.colour !== "origin") {
    const key = el("span", "key");
    key.append(el("i"), "made", el("i", "hollow"), "real");
    legend.append(key);
  }
}
