/* Where the words beside a hovered point stand: over as few other points as can be, never over the point itself, the
   chosen one or their neighbours. */
import { el } from "./core.js";

const TIP_GAP = 14, TIP_COST = { kept: 1000, other: 1 };

export function placeTip(tip, p, panel, words, map, stage, s) {
  tip.replaceChildren(el("b", "", words), el("span", "", p.layer.title));
  const [w, h] = [tip.offsetWidth, tip.offsetHeight], [x, y] = [p.sx + panel.x, p.sy + panel.y];
  const [right, low] = [stage.clientWidth - w - 4, stage.clientHeight - h - 4];
  const kept = [p, s.byId.get(s.chosen), ...keptNear(s, p.id), ...keptNear(s, s.chosen)].filter(Boolean);
  const places = [
    [x - w / 2, y - h - TIP_GAP], [x - w / 2, y + TIP_GAP], [x + TIP_GAP, y - h / 2], [x - w - TIP_GAP, y - h / 2],
    [x + TIP_GAP, y - h - TIP_GAP], [x - w - TIP_GAP, y - h - TIP_GAP], [x + TIP_GAP, y + TIP_GAP], [x - w - TIP_GAP, y + TIP_GAP],
    [x - w / 2, y - h - 60], [x - w / 2, y + 60], [x + 70, y - h / 2], [x - w - 70, y - h / 2], [4, 4], [right, 4], [4, low], [right, low],
  ];
  let best = null, least = Infinity;
  for (const [i, [wantedX, wantedY]] of places.entries()) {
    const [left, top] = [Math.min(Math.max(wantedX, 4), right), Math.min(Math.max(wantedY, 4), low)];
    const over = (q, edge) => q.sx + panel.x > left - edge && q.sx + panel.x < left + w + edge && q.sy + panel.y > top - edge && q.sy + panel.y < top + h + edge;
    let cost = i / 4;
    for (const q of kept) if (over(q, 8)) cost += TIP_COST.kept;
    if (cost < least && s.points.length < 3000) for (const q of s.points) if (!q.faint && over(q, 2)) cost += TIP_COST.other;
    if (cost < least) { least = cost; best = [left, top]; }
  }
  tip.style.left = `${best[0]}px`;
  tip.style.top = `${best[1]}px`;
}
const keptNear = (s, id) => (s.details.get(id)?.near || []).map(near => s.byId.get(near.id));
