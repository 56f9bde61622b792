/* The list of runs: an entry is built once a run and renewed in place. */
import { button, el } from "./core.js";
import { colour, isBusy, isWorking, runMark, runName } from "./distil_runs.js";
import { sharing } from "./sharing.js";

/* server: shares, null where nobody is to be shown a run; files: [[kind, words], …] to download; act(what, id), save(id, kind), show(): what clicks do. */
export function runList(data, server, files, { act, save, show }) {
  const box = el("ul", "runs");

  function entry(run) {
    const { id } = run;
    const row = el("li", "run"), label = el("label"), tick = el("input"), bar = el("div", "bar"), buttons = el("div", "buttons"), select = el("select", "save");
    tick.type = "checkbox";
    tick.addEventListener("change", () => { data.hidden[tick.checked ? "delete" : "add"](id); show(); });
    label.append(tick, el("i"), runMark(run), el("b"));
    label.title = "Show it in the curves and the table";
    bar.append(el("div"));
    select.append(new Option("Download…", ""), ...files.map(([kind, words]) => new Option(words, kind)));
    select.addEventListener("change", async () => {
      const kind = select.value, what = select.selectedOptions[0].text;
      Object.assign(select, { value: "", disabled: true });
      select.options[0].text = `Making ${what}…`;
      await save(id, kind);
      select.options[0].text = "Download…";
      select.disabled = false;
    });
    const remove = button("delete", "Delete", () => {
      if (remove.dataset.confirm) { act("remove", id); return; }
      remove.dataset.confirm = "1";
      remove.textContent = "Really delete?";
      setTimeout(() => { delete remove.dataset.confirm; remove.textContent = "Delete"; }, 4000);
    });
    buttons.append(button("stop", "Stop", () => act("stop", id)), button("resume", "Resume", () => act("resume", id)), select, remove);
    if (server) buttons.append(row.sharing = sharing(server, id));
    row.append(label, el("span", "figure"), el("span", "status"), buttons, bar);
    row.dataset.id = id;
    return row;
  }
  function renew(row, run) {
    const one = name => row.querySelector(name), { status, share } = run;
    Object.assign(row.dataset, { status, share });
    row.style.setProperty("--frami-run", colour(run));
    one("label b").textContent = runName(run);
    one("select").setAttribute("aria-label", `Download ${runName(run)}`);
    one("input").checked = !data.hidden.has(run.id);
    one(".figure").textContent = data.figure(run);
    one(".status").textContent = data.status(run);
    one(".bar div").style.width = `${100 * share}%`;
    one(".bar").hidden = status === "finished";
    one(".buttons").hidden = !run.own;
    row.sharing?.renew(run.link);
    one(".stop").hidden = !isWorking(run) && status !== "waiting";
    one(".resume").hidden = !["stopped", "failed"].includes(status);
    one(".delete").hidden = isWorking(run) || status === "stopping";
    one(".save").hidden = !run.usable || isBusy(run);
  }
  function draw() {
    const have = new Map([...box.children].map(row => [row.dataset.id, row]));
    data.runs.forEach((run, i) => {
      const row = have.get(run.id) || entry(run);
      have.delete(run.id);
      renew(row, run);
      if (box.children[i] !== row) box.insertBefore(row, box.children[i] || null);
    });
    have.forEach(row => row.remove());
  }
  return { box, draw, any: () => data.runs.length > 0 };
}
