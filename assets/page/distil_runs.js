/* What the Distil tab knows of a teacher's runs: rows as the server sent them last, and of each run its curves and result. */
import { duration, percent } from "./core.js";

const NEWEST = 8;    // runs that are in the chart and the table at first
export const SHARES = ["accuracy", "agreement"];
export const isWorking = run => ["starting", "running"].includes(run.status);
export const isBusy = run => isWorking(run) || ["waiting", "stopping"].includes(run.status);
export const colour = run => `var(--frami-r${run.colour})`;

export class DistilRuns {
  constructor() { this.reset(null); }
  reset(teacher) {
    Object.assign(this, { teacher, value: { runs: [], classes: [] }, details: new Map(), hidden: new Set(), known: new Set() });
  }
  get runs() { return this.value.runs; }
  get shown() { return this.runs.filter(run => !this.hidden.has(run.id)); }
  get stamps() { return Object.fromEntries([...this.details].map(([id, { stamp }]) => [id, stamp])); }
  take(value) {
    this.value = { ...value, classes: value.classes || this.value.classes, categories: value.categories || this.value.categories };
    const ids = new Set(value.runs.map(run => run.id));
    value.runs.forEach(({ id, stamp, curves, result }, i) => {
      if (curves) this.details.set(id, { stamp, curves, result });
      if (!this.known.has(id) && i >= NEWEST) this.hidden.add(id);
      this.known.add(id);
    });
    [...this.details.keys()].forEach(id => { if (!ids.has(id)) this.details.delete(id); });
  }
  curves(run) { return this.details.get(run.id)?.curves || {}; }
  curve(run, name) { return this.curves(run)[name] || []; }
  result(run) { return this.details.get(run.id)?.result || {}; }
  last(run, name) { return this.result(run)[name] ?? run.latest[name] ?? null; }
  /* Where a run stands, in words. */
  status(run) {
    const clips = run.latest.clips ? ` · ${run.latest.clips.toLocaleString("en")} clips` : "", at = `${Math.floor(100 * run.share)}%`;
    switch (run.status) {
      case "waiting": return run.ahead ? `waits for ${run.ahead} other run${run.ahead > 1 ? "s" : ""}${run.begins ? `, begins in about ${duration(run.begins)}` : ""}` : "is next";
      case "starting": return "starting…";
      case "running": return run.latest.clips ? `${at} · ${run.left === null ? "" : `${duration(run.left)} left`}${clips}` : "makes the first clips…";
      case "stopping": return "saves its state…";
      case "stopped": return run.share > 0 ? `${run.error ? "interrupted" : "stopped"} at ${at}${clips}. Resume continues from what was saved.` : "stopped before it began";
      case "finished": return `done in ${duration(this.result(run).seconds || 0)}${clips}`;
      default: return run.error || "failed";
    }
  }
  /* Accuracy where recordings are at hand, else agreement with the teacher. */
  figure(run) {
    const name = SHARES.find(one => this.last(run, one) !== null);
    return name ? `${percent(this.last(run, name))} ${name}` : "";
  }
}
