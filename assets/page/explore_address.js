/* Explore's choices in the address, each as a text: "" is what the map begins with, "~" stands between names and alone for
   none of them. Of what an address says only known values count. */
import { addressed, inAddress, teacherHere, write } from "./address.js";
import { groups, hasMany, pick, startClasses } from "./explore_colours.js";
import { noFilters } from "./explore_filters.js";

const OF_TEACHER = ["layers", "student", "category", "coloured", "only", "classes", "confidence", "answers", "others"];
const SAID = { view: "panels" };       // `view` is Gradio's own
const namesIn = key => inAddress(key).split("~").filter(Boolean);
const placesOf = (names, wanted) => wanted.map(name => names.indexOf(name)).filter(i => i >= 0);
const layerBoxes = () => [...document.querySelectorAll("#explore-banks input")], isUsual = box => !box.name.startsWith("run-");
const noneOf = key => inAddress(key) === "~";

/* The layers that are ticked, as the address says them. */
function tickedLayers() {
  const all = layerBoxes();
  return all.every(box => box.checked === isUsual(box)) ? "" : all.filter(box => box.checked).map(box => box.name).join("~") || "~";
}
/* controls: [[name, title, options], …], the first option being what the map begins with; renew(): draw it all again. */
export function mapAddress(s, root, controls, students, renew) {
  let first = "", ticking = false;     // classes that have colours at first; while this script ticks layers
  const names = some => [...some].map(i => s.value.classes[i]).join("~");
  const own = () => s.value.teacher && s.value.teacher === teacherHere();

  // ---- layers: Gradio's boxes, which the server answers
  /* Tick what the address says, once the boxes are those of the map; back: also where it says nothing. */
  function tick(back, tries = 99) {
    const all = layerBoxes(), wanted = placesOf(all.map(box => box.name), namesIn("layers")).map(i => all[i]);
    const here = all.filter(box => box.checked).map(box => box.name).toSorted();
    if (!own()) return;
    if (!all.length || String(here) !== String(s.value.keys.toSorted())) { if (tries) setTimeout(tick, 50, back, tries - 1); return; }
    ticking = true;
    const on = wanted.length || noneOf("layers") ? box => wanted.includes(box) : isUsual;
    if (back || inAddress("layers")) all.filter(box => box.checked !== on(box)).forEach(box => box.click());
    ticking = false;
    write({ layers: tickedLayers() });
  }
  document.addEventListener("change", event => {
    if (!ticking && event.target.closest("#explore-banks")) write({ layers: tickedLayers() }, true);
  });

  // ---- all others
  function get() {
    const { filters: f, choice, value: { categories = [] } } = s, made = {};
    for (const [name, , options] of controls) made[SAID[name] || name] = choice[name] === options[0][0] ? "" : choice[name];
    return {
      ...made, student: choice.colour === "student" ? students.named() : "", density: choice.density ? "on" : "",
      category: categories[s.open]?.title, coloured: names(s.picked) === first ? "" : names(s.picked) || "~",
      only: alone().join("~"), classes: names(f.classes),
      confidence: f.low > 0 || f.high < 1 ? [f.low, f.high].map(share => Math.round(100 * share)).join("-") : "",
      answers: f.right === "all" ? "" : f.right, others: f.rest === "hide" ? "hidden" : "",
    };
  }
  function take() {
    const { classes, categories = [] } = s.value, coloured = placesOf(classes, namesIn("coloured"));
    const [, low, high] = inAddress("confidence").match(/^(\d{1,3})-(\d{1,3})$/)?.map(share => share / 100) || [0, 0, 1];
    for (const [name, , options] of controls)
      s.choice[name] = (options.find(([key]) => key === inAddress(SAID[name] || name)) || options[0])[0];
    s.choice.density = inAddress("density") === "on";
    startClasses(s);
    first = names(s.picked);
    if (hasMany(s) && (coloured.length || noneOf("coloured"))) { s.picked = []; coloured.forEach(i => pick(s, i)); }
    if (hasMany(s)) [s.open = null] = placesOf(categories.map(one => one.title), [inAddress("category")]);
    isolate(namesIn("only"));
    s.filters = {
      ...noFilters(), classes: new Set(placesOf(classes, namesIn("classes"))), ...low <= high && high <= 1 && { low, high },
      right: ["right", "wrong"].find(one => one === inAddress("answers")) || "all", rest: inAddress("others") === "hidden" ? "hide" : "faint",
    };
  }
  /* Names of the groups that are shown alone; show those of these names alone. */
  const alone = () => [...s.isolated].map(i => s.groups[i]?.name).filter(Boolean);
  const isolate = wanted => { s.isolated = new Set(placesOf(groups(s, root).map(one => one.name), wanted)); };
  const told = addressed({ get, ofTeacher: OF_TEACHER, set() { if (own()) { take(); tick(true); renew(); } } });
  document.addEventListener("frami-arrived", () => { if (own()) told(); });
  return { take() { take(); setTimeout(tick, 150); }, alone, isolate, keep(step) { if (own()) told(step); } };
}
