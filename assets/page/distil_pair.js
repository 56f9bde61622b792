/* Two students beside each other: by how much one recognises more, how sure that is, and in which classes they differ. */
import { counted, el, NO_ANSWER, percent } from "./core.js";
import { colour, isBusy, runMark, runName } from "./distil_runs.js";

const MOST_CLASSES = 10;    // that are shown, those that differ most
const inPoints = share => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)}`;
/* Runs to choose from; until one is chosen, the usual one. */
function offer({ select }, own, usual) {
  const ids = own.map(run => run.id), chosen = select.dataset.chosen && ids.includes(select.value) ? select.value : usual.id;
  const stamp = own.map(run => `${run.id} ${runName(run)}`).join();
  if (select.dataset.offered !== stamp) {
    select.dataset.offered = stamp;
    select.replaceChildren(...own.map(run => new Option(runName(run), run.id)));
  }
  select.value = chosen;
}
function chooser(name, renew) {
  const label = el("label"), select = el("select");
  label.append(el("b", "", name), select);
  select.addEventListener("change", () => { select.dataset.chosen = "1"; renew(); });
  return { label, select };
}
function studentBar(run, [right, count]) {
  const row = el("div", "one"), track = el("div", "track"), fill = el("div");
  fill.style.width = `${100 * right / count}%`;
  fill.style.background = colour(run);
  track.append(fill);
  row.append(runMark(run), track, el("small", "", `${right}/${count}`));
  return row;
}

export function studentPair(data, server) {
  const choice = el("div", "choice"), verdict = el("p", "verdict"), rows = el("div", "classes"), first = chooser("A", renew), second = chooser("B", renew);
  let asked = "", found = null;
  choice.append(first.label, second.label);
  verdict.setAttribute("role", "status");

  const having = () => data.runs.filter(run => !isBusy(run) && data.result(run).confusion?.cells.length);
  async function renew() {
    const ids = [first.select.value, second.select.value], runsOf = ids.map(id => data.runs.find(run => run.id === id));
    if (runsOf.some(run => !run)) return;
    const key = JSON.stringify([data.teacher, ids, runsOf.map(run => run.stamp)]);
    if (key === asked) return;
    asked = key;
    const reply = await server.pair({ teacher: data.teacher, first: ids[0], second: ids[1] }).catch(() => ({ error: NO_ANSWER }));
    if (key !== asked) return;
    found = reply?.error ? null : reply;
    if (found) say(runsOf); else { verdict.textContent = reply?.error || ""; rows.replaceChildren(); }
  }
  function say([a, b]) {
    const { shares, difference, interval: [low, high], of, clips } = found, sure = low > 0 || high < 0;
    verdict.replaceChildren(
      el("b", "", a.id === b.id ? "One and the same student." : sure ? `${difference > 0 ? "B" : "A"} recognises more.` : "These clips do not tell which is better."),
      ` A ${percent(shares[0], 1)}, B ${percent(shares[1], 1)} of ${clips[0] === clips[1] ? counted(clips[0]) : `${counted(clips[0])} and ${counted(clips[1])}`} ${of}: a difference of ${inPoints(difference)} points, 95% interval ${inPoints(low)} to ${inPoints(high)}.`,
    );
    const differing = found.classes.filter(one => one.first[0] / one.first[1] !== one.second[0] / one.second[1]).slice(0, MOST_CLASSES);
    rows.replaceChildren(
      el("h4", "", differing.length ? "Classes in which they differ most" : "They recognise each class equally often."),
      ...differing.map(({ name, first: one, second: other }) => {
        const row = el("div", "row"), pair = el("div", "pair"), change = other[0] / other[1] - one[0] / one[1];
        pair.append(studentBar(a, one), studentBar(b, other));
        row.append(el("span", "label", name), pair, el("span", "value", inPoints(change)));
        row.title = `${name}: A ${one[0]} of ${one[1]}, B ${other[0]} of ${other[1]}`;
        return row;
      }),
    );
  }
  function draw() {
    const own = having();
    offer(first, own, own[1] || own[0]);
    offer(second, own, own[0]);
    renew();
  }
  return { boxes: [choice, verdict, rows], draw, any: () => having().length > 1 };
}
