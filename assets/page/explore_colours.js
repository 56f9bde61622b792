/* Colours of the points of a map: what they stand for, and which of few hues a class has. s: what the map shows (see
   explore.js); of many classes its `picked` ones (indices), their `hues`, the `open` category (index or null), `query`. */
import { MANY, matcher } from "./classes.js";
import { css } from "./core.js";
import { magma } from "./spectrogram.js";

// Ten colours that stay apart in normal vision and for protanopes, deuteranopes and tritanopes; a test measures it.
const LIGHT = ["#5c0300", "#d15efe", "#be2f5b", "#42a3a3", "#4a36df", "#142b5a", "#4e5206", "#870597", "#806ba5", "#e86518"];
const DARK = ["#c7400b", "#9b36de", "#ecb9b1", "#74fefd", "#6595f4", "#237c66", "#a09c57", "#e263b1", "#7dda38", "#f0f97b"];
const HUES = LIGHT.length;

const isDark = () => document.querySelector(".dark") !== null;
export const nth = i => (isDark() ? DARK : LIGHT)[i % HUES];
export const ramp = share => {
  const c = magma[Math.round(isDark() ? 90 + 150 * share : 205 - 165 * share)];
  return `rgb(${c & 255} ${c >> 8 & 255} ${c >> 16 & 255})`;
};
export const hasMany = s => s.value.classes.length > MANY;
/* Whether points are coloured by a class, and which one of a point that is: the predicted one, or its target. */
export const byClass = s => s.choice.colour === "class" || s.choice.colour === "target";
export const classOf = (s, p) => s.choice.colour === "target" ? p.label : p.predicted;

/* A class's own hue: its place in its category, or in the list of all. */
const ownHue = ({ value: { categories = [] } }, label) => {
  const part = categories.find(one => one.classes.includes(label));
  return (part ? part.classes.indexOf(label) : label) % HUES;
};
/* Give a class a colour of its own: the hue that it had before or its own, another only where that is taken. Where all
   are, the class that was picked first gives up its colour. */
export function pick(s, label) {
  if (s.picked.includes(label)) return;
  if (s.picked.length >= HUES) s.picked.shift();
  const taken = new Set(s.picked.map(one => s.hues.get(one))), wanted = s.hues.get(label) ?? ownHue(s, label);
  const free = Array.from({ length: HUES }, (_, k) => (wanted + k) % HUES).find(hue => !taken.has(hue));
  s.hues.set(label, free);
  s.picked.push(label);
}
export function unpick(s, label) { s.picked = s.picked.filter(one => one !== label); }
/* What a map of many classes begins with: its categories; where there are none, the classes with the most points. */
export function startClasses(s) {
  Object.assign(s, { picked: [], hues: new Map(), open: null, query: "" });
  if (!hasMany(s) || s.value.categories?.length) return;
  const counts = new Map();
  s.points.forEach(p => counts.set(classOf(s, p), (counts.get(classOf(s, p)) || 0) + 1));
  [...counts.keys()].toSorted((a, b) => counts.get(b) - counts.get(a) || a - b).slice(0, HUES).forEach(label => pick(s, label));
}

function categoryGroup(s, { title, classes }, k) {
  const inside = new Set(classes);
  return { name: title, category: k, colour: nth(k), has: p => inside.has(classOf(s, p)) };
}
function classGroups(s) {
  const { classes, categories = [] } = s.value, one = (label, hue) => ({ name: classes[label], label, colour: nth(hue), has: p => classOf(s, p) === label });
  if (!hasMany(s)) return classes.map((_, i) => one(i, i));
  if (s.picked.length) return s.picked.map(label => one(label, s.hues.get(label)));
  if (s.open === null) return categories.map((part, k) => categoryGroup(s, part, k));
  const { classes: members } = categories[s.open];
  return members.length <= HUES ? members.map(label => one(label, ownHue(s, label))) : [categoryGroup(s, categories[s.open], s.open)];
}
/* Groups of points by the chosen colour: name, colour, and which points they have. */
export function groups(s, root) {
  const { choice, value: { layers } } = s, made = layers.filter(layer => !layer.real);
  switch (choice.colour) {
    case "class": case "target": return classGroups(s);
    case "recipe": return layers.map(layer => ({
      name: layer.title, real: layer.real, colour: layer.real ? css(root, "--frami-real") : nth(made.indexOf(layer) + 2), has: p => p.layer === layer,
    }));
    case "origin": return [
      { name: "made", colour: nth(2), has: p => !p.layer.real },
      ...made.length < layers.length ? [{ name: "real", real: true, colour: nth(3), has: p => p.layer.real }] : [],
    ];
    case "student": return [
      { name: "same class as the teacher", colour: nth(4), has: p => s.students.class(p) === p.predicted },
      { name: "another class", colour: nth(9), has: p => ![p.predicted, undefined].includes(s.students.class(p)) },
    ];
    default: return [];
  }
}
/* Whether a point passes the filters (see explore_filters.js). */
const passesFilters = ({ filters: f }, p, own) => (!f.classes.size || f.classes.has(own)) && p.confidence >= f.low - .0005 && p.confidence <= f.high + .0005
  && (f.right === "all" || (f.right === "right") === (p.predicted === p.label));
const drawnAt = p => (p.layer.real ? 0 : 1) - (p.faint ? 8 : p.plain ? 4 : 0);
/* Colour of each point; `plain` are those of no group; `faint` those that are hidden: outside of what is shown alone, of
   another category than the open one, not of a class that is searched for, or filtered out. `sorted`: as they are drawn,
   what matters last. */
export function paintPoints(s, root) {
  const all = groups(s, root), matches = matcher(s.query), other = css(root, "--frami-other"), inClasses = byClass(s);
  const inside = inClasses && s.open !== null ? new Set(s.value.categories[s.open].classes) : null;
  const alone = [...s.isolated].map(i => all[i]).filter(Boolean);
  const named = s.query ? s.value.classes.map(matches) : null;
  s.points.forEach(p => {
    const own = all.find(group => group.has(p)), label = classOf(s, p);
    p.group = own || null;
    p.colour = s.choice.colour === "confidence" ? ramp(Math.round(32 * p.confidence) / 32) : own?.colour ?? other;
    p.plain = (inClasses || s.choice.colour === "student") && !own;
    p.faint = Boolean(alone.length && !alone.some(group => group.has(p))) || Boolean(inside && !inside.has(label)) || Boolean(named && !named[label]) || !passesFilters(s, p, label);
  });
  s.sorted = s.points.toSorted((a, b) => drawnAt(a) - drawnAt(b));
  s.groups = all;
  s.version++;
}
