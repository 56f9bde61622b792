/* What a student predicts for the clips of a map, asked for once it is looked at. */
import { inAddress } from "./address.js";
import { counted, el, percent, plural } from "./core.js";

/* ask(more): a request about the map; renew(): draw the map again; server: students(request), agreement(request). */
export function mapStudents(s, server, ask, renew) {
  const label = el("label", "student"), select = el("select"), said = el("span", "key");
  let offered = [], teacher = null, known = new Map(), timer = 0, words = "";
  select.setAttribute("aria-label", "Student that is compared with the teacher");
  select.addEventListener("change", () => { known = new Map(); fetchPredictions(); });
  label.append("Student: ", select);
  const wanted = () => s.choice.colour === "student" && s.value.teacher;
  /* The students of the map's teacher; false where another teacher was chosen meanwhile. */
  async function offer() {
    const asked = s.value.teacher;
    if (teacher === asked) return true;
    known = new Map();
    const reply = await server.students(ask({}));
    if (asked !== s.value.teacher) return false;
    teacher = asked;
    offered = reply?.students || [];
    const before = select.value || inAddress("student");
    select.replaceChildren(...offered.map(([title, key]) => Object.assign(el("option", "", title), { value: key })));
    if (offered.some(([, key]) => key === before)) select.value = before;
    return true;
  }
  async function fetchPredictions() {
    clearTimeout(timer);
    if (!wanted()) return;
    const asked = s.value.teacher;
    try {
      if (!await offer()) return;      // the map of the other teacher asks for its own
      const missing = s.value.layers.some(layer => !known.has(layer.key));
      if (offered.length && missing) {
        const student = select.value, reply = await server.agreement(ask({ student }));
        if (student !== select.value || asked !== s.value.teacher) return;
        for (const [key, predicted] of Object.entries(reply?.layers || {})) known.set(key, predicted);
        words = reply?.error || reply?.pending || "";
        if (reply?.pending) timer = setTimeout(fetchPredictions, 900);
      } else words = offered.length ? "" : "This teacher has no student yet: distil one in the Distil tab.";
    } catch { timer = setTimeout(fetchPredictions, 2000); }
    renew();
  }
  /* What stands in the legend beside the groups. */
  function parts() {
    const some = s.points.filter(p => known.has(p.layer.key)), same = some.filter(p => predictedBy(p) === p.predicted).length;
    said.textContent = words || (some.length ? `the student agrees on ${counted(same)} of ${plural(some.length, "clip")}, ${percent(same / some.length, 1)}` : "asking the student…");
    return offered.length ? [label, said] : [said];
  }
  /* Its key, "" for the first one. */
  const named = () => !offered.length ? inAddress("student") : select.selectedIndex > 0 ? select.value : "";
  const predictedBy = p => known.get(p.layer.key)?.[p.row];
  return { class: predictedBy, named, parts, ask: fetchPredictions, forget() { teacher = null; } };
}
