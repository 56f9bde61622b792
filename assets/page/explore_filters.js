/* The filters of a map: classes, confidence, right or wrong; what does not pass is faint or hidden. Below them a line says
   how many clips are left. */
import { button, choices, counted, el, percent, plural } from "./core.js";

export const noFilters = () => ({ classes: new Set(), low: 0, high: 1, right: "all", rest: "faint" });
export const filtersOn = ({ filters: f }) => f.classes.size > 0 || f.low > 0 || f.high < 1 || f.right !== "all";
/* Whether anything keeps points from being shown: filters, the legend, the search. */
export const narrowed = s => filtersOn(s) || s.isolated.size > 0 || s.open !== null || Boolean(s.query);

/* renew(): draw the map again; reset(): show all; selectShown(): select what passes. */
export function mapFilters(s, { renew, reset, selectShown }) {
  const box = el("details", "filters"), head = el("summary", "", "Filters"), body = el("div", "inside");
  const count = el("span", "counter"), again = button("reset", "Show all clips", reset), pick = button("pick", "Select these", selectShown, "Select all clips that are shown");
  const line = el("p", "counting"), slot = el("div", "classes"), chips = el("span", "chips"), list = el("datalist"), field = el("input");
  count.setAttribute("role", "status");
  line.append(count, pick, again);
  list.id = "explore-class-names";
  Object.assign(field, { type: "text", placeholder: "Add a class", autocomplete: "off", spellcheck: false });
  field.setAttribute("list", list.id);
  field.setAttribute("aria-label", "Show only clips of this class; several may be added");
  field.addEventListener("change", () => {
    const i = s.value.classes.findIndex(name => name.toLowerCase() === field.value.trim().toLowerCase());
    if (i >= 0) { s.filters.classes.add(i); field.value = ""; renew(); }
  });
  slot.append(el("span", "label", "Classes"), chips, field, list);

  const range = el("div", "range"), said = el("output"), sliders = ["low", "high"].map(end => {
    const input = el("input");
    Object.assign(input, { type: "range", min: 0, max: 100, step: 1, value: 100 * s.filters[end] });
    input.setAttribute("aria-label", end === "low" ? "Least confidence" : "Most confidence");
    input.addEventListener("input", () => {
      const other = end === "low" ? "high" : "low", at = input.value / 100;
      s.filters[end] = end === "low" ? Math.min(at, s.filters[other]) : Math.max(at, s.filters[other]);
      renew();
    });
    return input;
  });
  range.append(el("span", "label", "Confidence"), ...sliders, said);
  const row = (name, label, options) => {
    const made = el("fieldset"), segments = el("div", "segments");
    made.append(el("legend", "", label), segments);
    made.draw = () => choices(segments, `filter-${name}`, options, s.filters[name], key => { s.filters[name] = key; renew(); });
    return made;
  };
  const right = row("right", "The teacher", [["all", "All"], ["right", "Right"], ["wrong", "Wrong"]]);
  const rest = row("rest", "The others", [["faint", "Faint"], ["hide", "Hidden"]]);
  right.title = "Right: the predicted class is the target class, or that of the recording";
  body.append(slot, range, right, rest);
  box.append(head, body);

  let drawn = "";
  function draw() {
    const f = s.filters, shown = s.points.filter(p => !p.faint).length, total = s.points.length;
    count.textContent = narrowed(s) || shown < total ? `${counted(shown)} of ${plural(total, "clip")}` : plural(total, "clip");
    again.hidden = !narrowed(s);
    pick.hidden = !shown || !total;
    line.hidden = !total;
    head.textContent = filtersOn(s) ? "Filters (on)" : "Filters";
    said.textContent = `${percent(f.low)} to ${percent(f.high)}`;
    sliders[0].value = 100 * f.low;
    sliders[1].value = 100 * f.high;
    const key = JSON.stringify([s.value.classes, [...f.classes], f.right, f.rest]);
    if (key === drawn) return;
    drawn = key;
    right.draw();
    rest.draw();
    list.replaceChildren(...s.value.classes.map(name => Object.assign(el("option"), { value: name })));
    chips.replaceChildren(...[...f.classes].map(i => button("chip", `${s.value.classes[i]} ×`, () => { f.classes.delete(i); renew(); }, `No longer only ${s.value.classes[i]}`)));
  }
  return { box, line, draw };
}
