/* The legend of a map: its groups, each a button; of many classes also a search field, whose classes are coloured by a click.
   s: what the map shows (see explore.js and explore_colours.js). */
import { matcher, searchField } from "./classes.js";
import { button, counted, el, plural } from "./core.js";
import { byClass, classOf, groups, hasMany, nth, pick, ramp, unpick } from "./explore_colours.js";

const OFFERED = 8;    // classes that a search offers

function mark(group) {
  const made = el("i", group.real ? "hollow" : "");
  made.style.color = group.colour;
  return made;
}
/* isolate(i): what a click on group i does; renew(): draw the map again. */
export function mapLegend(s, root, isolate, renew) {
  const box = el("div", "legend"), finder = el("div", "finder"), found = el("div", "found"), said = el("span", "count");
  const search = searchField("Find a class", query => { s.query = query.trim(); renew(); });
  said.setAttribute("role", "status");
  finder.append(search.box, found, said);

  const counts = () => {
    const all = new Map();
    s.points.forEach(p => all.set(classOf(s, p), (all.get(classOf(s, p)) || 0) + 1));
    return all;
  };
  const matching = all => s.value.classes.map((_, i) => i).filter(i => all.has(i) && matcher(s.query)(s.value.classes[i]));
  function choose(label) {
    if (s.picked.includes(label)) unpick(s, label);
    else pick(s, label);
    Object.assign(s, { isolated: new Set(), query: "", open: null });    // an open category would hide a class of another one
    search.input.value = "";
    search.input.focus({ preventScroll: true });
    renew();
  }
  search.input.addEventListener("keydown", event => {
    const first = event.key === "Enter" && s.query ? matching(counts()).find(label => !s.picked.includes(label)) : undefined;
    if (first !== undefined) choose(first);
  });

  function drawFound() {
    finder.hidden = !hasMany(s) || !byClass(s);
    const all = counts(), some = s.query && !finder.hidden ? matching(all) : [];
    found.replaceChildren(...some.slice(0, OFFERED).map(label => {
      const one = button("", undefined, () => choose(label)), has = s.picked.includes(label), square = el("i");
      square.style.color = has ? nth(s.hues.get(label)) : "var(--frami-other)";
      one.append(square, el("span", "", s.value.classes[label]), el("small", "", counted(all.get(label))));
      one.setAttribute("aria-pressed", String(has));
      one.title = `${s.value.classes[label]}: ${has ? "take its colour away" : "give it a colour"}`;
      return one;
    }));
    said.textContent = !s.query ? "" : !some.length ? "no class on the map matches"
      : some.length > OFFERED ? `and ${some.length - OFFERED} more` : plural(some.length, "class", "classes");
  }
  function entry(group, i) {
    const count = s.points.filter(group.has).length, alone = s.isolated.has(i), cell = el("span", "entry");
    if (!count && !alone) return null;
    const one = button("", undefined, () => isolate(i, group));
    one.append(mark(group), el("span", "", group.name), el("small", "", counted(count)));
    one.setAttribute("aria-pressed", String(alone));
    one.title = alone ? `Take ${group.name} away again` : s.isolated.size ? `Show also: ${group.name}` : `Show only: ${group.name}`;
    cell.append(one);
    if (s.picked.includes(group.label)) cell.append(button("away", "×", () => { unpick(s, group.label); s.isolated = new Set(); renew(); }, `Take the colour of ${group.name} away`));
    return cell;
  }
  /* The way back from picked classes and an open category; what the grey points are. */
  function around() {
    const { categories = [] } = s.value, inClasses = byClass(s) && hasMany(s);
    if (!inClasses) return [[], []];
    const back = s.picked.length || s.open !== null
      ? button("back", categories.length ? "← All categories" : "Take all colours away", () => { Object.assign(s, { picked: [], open: null, isolated: new Set() }); renew(); }) : null;
    const rest = s.points.filter(p => p.plain && !p.faint).length, other = el("span", "key");
    other.append(mark({ colour: "var(--frami-other)" }), `other classes, ${counted(rest)}`);
    return [back ? [back] : [], rest ? [other] : []];
  }
  function draw() {
    if (search.input.value.trim() !== s.query) search.input.value = s.query;
    drawFound();
    const [before, after] = around();
    const held = [...box.querySelectorAll("button")].indexOf(document.activeElement);
    box.replaceChildren(...before, ...groups(s, root).map(entry).filter(Boolean), ...after);
    if (held >= 0) ([...box.querySelectorAll("button")].slice(0, held + 1).at(-1) || search.input).focus({ preventScroll: true });
    if (s.choice.colour === "confidence") {
      const bar = el("span", "ramp");
      bar.style.background = `linear-gradient(to right, ${[0, .25, .5, .75, 1].map(ramp).join(",")})`;
      box.append(el("span", "", "Confidence of the teacher: 0%"), bar, el("span", "", "100%"));
    }
    if (s.choice.colour === "student") box.append(...s.students.parts());
    const kinds = new Set(s.value.layers.map(layer => Boolean(layer.real)));
    if (kinds.size > 1 && s.choice.colour !== "origin") {
      const key = el("span", "key");
      key.append(el("i"), "made", el("i", "hollow"), "real");
      box.append(key);
    }
  }
  return { boxes: [finder, box], draw };
}
