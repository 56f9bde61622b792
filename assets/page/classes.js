/* Finding classes where there are many: by name in a search field, and by the categories of the data set. */
import { el } from "./core.js";

/* A teacher with more classes than this has many. */
export const MANY = 10;
const folded = text => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
let fields = 0;

/* Whether a class name has every word of a query, in whatever case and accents. */
export function matcher(query) {
  const words = folded(query).split(/\s+/).filter(Boolean);
  return name => words.every(word => folded(name).includes(word));
}
/* Classes one after the other, those of a category together: [[category or null, [class, …]], …]. */
export const inOrder = (count, categories = []) => categories.length ? categories.map(one => [one.title, one.classes])
  : [[null, Array.from({ length: count }, (_, i) => i)]];

/* A search field; act(query) is called as it changes, Escape empties it. */
export function searchField(words, act) {
  const box = el("label", "frami-search"), input = el("input");
  Object.assign(input, { type: "search", placeholder: words, autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-label", words);
  input.addEventListener("input", () => act(input.value));
  input.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !input.value) return;
    event.stopPropagation();
    input.value = "";
    act("");
  });
  box.append(input);
  return { box, input };
}

/* A search field and the categories as radio buttons; change() is called when what passes is another. `offer` says which
   classes there are, `passes(i)` whether one is to be shown, `say(n)` how many are. */
export function classFilter(words, change) {
  const box = el("div", "frami-filter"), row = el("div", "categories"), count = el("span", "count"), group = `frami-categories-${fields++}`;
  const search = searchField(words, query => { matches = matcher(query); change(); });
  let names = [], categories = [], inside = null, matches = matcher("");
  count.setAttribute("role", "status");
  row.setAttribute("role", "radiogroup");
  row.setAttribute("aria-label", "Categories");
  box.append(search.box, row, count);

  function drawCategories() {
    row.hidden = !categories.length;
    row.replaceChildren(...[{ title: "All", classes: null }, ...categories].map(({ title, classes }) => {
      const one = el("label"), input = el("input"), size = classes ? classes.length : names.length;
      Object.assign(input, { type: "radio", name: group, checked: classes === null });
      input.addEventListener("change", () => { inside = classes && new Set(classes); change(); });
      one.append(input, el("span", "", title), el("small", "", size));
      return one;
    }));
  }
  return {
    box,
    offer(nextNames, nextCategories = []) {
      if (JSON.stringify([nextNames, nextCategories]) === JSON.stringify([names, categories])) return;
      names = nextNames;
      categories = nextCategories;
      inside = null;
      matches = matcher("");
      search.input.value = "";
      box.hidden = names.length <= MANY;
      drawCategories();
    },
    passes: i => (!inside || inside.has(i)) && matches(names[i]),
    say(n) { count.textContent = n === names.length ? `${n} classes` : n ? `${n} of ${names.length} classes` : "no class matches"; },
  };
}
