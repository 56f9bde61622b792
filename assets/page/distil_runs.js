/* What the Distil tab knows of a teacher's runs: rows as the server sent them last, and of each run its curves and result. */
import { counted, duration, el, percent, plural } from "./core.js";

const NEWEST = 8;    // runs that are in the chart and the table at first
const SURE = 50;     // clips from which on a share is said without its interval
const RUN_COLOURS = 64;  // that the style sheets have; runs beyond the tenth have other dashes, too
const DASHES = [[], [8, 4], [2, 4], [10, 3, 2, 3], [14, 5]];
export const SHARES = ["accuracy", "agreement", "real_agreement"];
/* Whose count of clips a share has beside it. */
const COUNTED = { accuracy: "accuracy_clips", agreement: "agreement_clips", real_agreement: "accuracy_clips" };
export const isWorking = run => ["starting", "running"].includes(run.status);
export const isBusy = run => isWorking(run) || ["waiting", "stopping"].includes(run.status);
export const colour = run => `var(--frami-r${run.colour % RUN_COLOURS})`;
export const dash = run => DASHES[Math.floor(run.colour / 10) % DASHES.length];
/* A run's name; where several have it, with the time of day. */
export function runName(run) {
  if (!run.twin) return run.title;
  return `${run.title}, ${new Date(1000 * run.created).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
}
/* A piece of a run's curve, for lists and tables. */
export function runMark(run) {
  const space = "http://www.w3.org/2000/svg", made = document.createElementNS(space, "svg"), line = document.createElementNS(space, "line");
  const values = { x1: 1, x2: 23, y1: 6, y2: 6, stroke: colour(run), "stroke-width": 3, "stroke-dasharray": dash(run).join(" ") };
  Object.entries(values).forEach(([key, value]) => line.setAttribute(key, value));
  line.style.stroke = colour(run);
  made.setAttribute("class", "mark");
  made.setAttribute("viewBox", "0 0 24 12");
  made.setAttribute("aria-hidden", "true");
  made.append(line);
  return made;
}
/* 95 % interval of a share of so many clips (Wilson 1927), as frami/intervals.py has it. */
export function wilson(share, count) {
  const z = 1.959964, square = z * z / count, middle = (share + square / 2) / (1 + square);
  const half = z / (1 + square) * Math.sqrt(share * (1 - share) / count + square / (4 * count));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

export class DistilRuns {
  constructor() { this.reset(null); }
  reset(teacher) {
    Object.assign(this, { teacher, value: { runs: [], classes: [] }, details: new Map(), hidden: new Set(), known: new Set() });
  }
  get runs() { return this.value.runs; }
  get own() { return this.runs.filter(run => !run.bundled); }
  get shown() { return this.runs.filter(run => !this.hidden.has(run.id)); }
  get stamps() { return Object.fromEntries([...this.details].map(([id, { stamp }]) => [id, stamp])); }
  take(value) {
    this.value = { ...value, classes: value.classes || this.value.classes, categories: value.categories || this.value.categories };
    const ids = new Set(value.runs.map(run => run.id));
    value.runs.forEach(({ id, stamp, curves, result, bundled }, i) => {
      if (curves) this.details.set(id, { stamp, curves, result });
      if (!this.known.has(id) && i >= NEWEST && !bundled) this.hidden.add(id);
      this.known.add(id);
    });
    [...this.details.keys()].forEach(id => { if (!ids.has(id)) this.details.delete(id); });
  }
  curves(run) { return this.details.get(run.id)?.curves || {}; }
  curve(run, name) { return this.curves(run)[name] || []; }
  result(run) { return this.details.get(run.id)?.result || {}; }
  last(run, name) { return this.result(run)[name] ?? run.latest[name] ?? null; }
  /* Clips that a share was counted on; null where that is not known. */
  clips(run, name) { return this.last(run, COUNTED[name]) || null; }
  /* A share in words, with its interval where few clips were counted; digits: of the share. */
  share(run, name, digits = 1) {
    const value = this.last(run, name), count = this.clips(run, name);
    if (value === null) return "";
    if (!count || count >= SURE) return percent(value, digits);
    const [low, high] = wilson(value, count).map(x => Math.round(100 * x));
    return `${percent(value, 0)} (${low} to ${high}, ${count} clips)`;
  }
  /* Where a run stands, in words. */
  status(run) {
    const clips = run.latest.clips ? ` · ${counted(run.latest.clips)} clips` : "", at = percent(Math.floor(100 * run.share) / 100), there = run.where ? ` · ${run.where}` : "";
    switch (run.status) {
      case "waiting": return run.ahead ? `waits for ${plural(run.ahead, "other run")}${run.begins ? `, begins in about ${duration(run.begins)}` : ""}` : "is next";
      case "starting": return run.where || "starting…";
      case "running": if (run.where && !run.where.startsWith("on ")) return `${at}${clips}${there}`;    // its worker was lost
        return run.latest.clips ? `${at} · ${run.left === null ? "" : `${duration(run.left)} left`}${clips}${there}` : `makes the first clips${run.where ? ` ${run.where}` : ""}…`;
      case "stopping": return "saves its state…";
      case "stopped": return run.share > 0 ? `${run.error ? "interrupted" : "stopped"} at ${at}${clips}. Resume continues from what was saved.` : "stopped before it began";
      case "finished": return `done in ${duration(this.result(run).seconds || 0)}${clips}`;
      default: return run.error || "failed";
    }
  }
  /* Accuracy where recordings are at hand, else agreement with the teacher. */
  figure(run) {
    const name = SHARES.find(one => this.last(run, one) !== null);
    return name ? `${this.share(run, name)} ${name}` : "";
  }
}
/* A row of a run's runMark and name. */
export function legend(run, words) {
  const row = el("b");
  row.append(runMark(run), words);
  return row;
}
