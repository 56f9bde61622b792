/* Contours of how densely points lie: a Gaussian kernel density on a small grid, and its lines by marching squares
   (Lorensen and Cline, 1987, in two dimensions). They are computed for the whole map, unzoomed, and kept until points or
   colours change: zooming only moves them. */
const DENSITY_CELLS = 96, DENSITY_LEVELS = [.12, .35, .65], DENSITY_GROUPS = 12;
const densities = new WeakMap();    // layer or state -> { version, size, paths }

/* One pass of a box filter along rows (step 1) or columns, of `lines` lines of `length` cells. */
function boxPass(from, to, length, lines, step, jump, reach) {
  for (let line = 0; line < lines; line++) {
    const start = line * jump;
    let sum = 0;
    for (let i = 0; i <= Math.min(reach, length - 1); i++) sum += from[start + i * step];
    for (let i = 0; i < length; i++) {
      to[start + i * step] = sum / (2 * reach + 1);
      if (i + reach + 1 < length) sum += from[start + (i + reach + 1) * step];
      if (i - reach >= 0) sum -= from[start + (i - reach) * step];
    }
  }
}
/* Density of points [[x, y], …] in pixels on a grid over w × h pixels; three box filters are nearly a Gaussian. */
function gridDensity(places, w, h) {
  const cell = w / DENSITY_CELLS, columns = DENSITY_CELLS + 1, rows = Math.ceil(h / cell) + 1, reach = Math.max(1, Math.round(.028 * DENSITY_CELLS));
  let a = new Float32Array(columns * rows), b = new Float32Array(columns * rows);
  for (const [x, y] of places) {
    const i = Math.floor(x / cell), j = Math.floor(y / cell), u = x / cell - i, v = y / cell - j;
    if (i < 0 || j < 0 || i + 1 >= columns || j + 1 >= rows) continue;
    const at = j * columns + i;
    a[at] += (1 - u) * (1 - v); a[at + 1] += u * (1 - v); a[at + columns] += (1 - u) * v; a[at + columns + 1] += u * v;
  }
  for (let pass = 0; pass < 3; pass++) {
    boxPass(a, b, columns, rows, 1, columns, reach);
    [a, b] = [b, a];
    boxPass(a, b, rows, columns, columns, 1, reach);
    [a, b] = [b, a];
  }
  return { values: a, columns, rows, cell };
}
/* Where the density crosses a level, as lines of a path. */
function marchingSquares({ values, columns, rows, cell }, level, path) {
  for (let j = 0; j + 1 < rows; j++) for (let i = 0; i + 1 < columns; i++) {
    const at = j * columns + i, [a, b, c, d] = [values[at], values[at + 1], values[at + columns + 1], values[at + columns]];
    const corners = (a > level) | (b > level) << 1 | (c > level) << 2 | (d > level) << 3;
    if (corners === 0 || corners === 15) continue;
    const top = () => [i + (level - a) / (b - a), j], right = () => [i + 1, j + (level - b) / (c - b)];
    const bottom = () => [i + (level - d) / (c - d), j + 1], left = () => [i, j + (level - a) / (d - a)];
    const crossed = [];
    if ((a > level) !== (b > level)) crossed.push(top());
    if ((b > level) !== (c > level)) crossed.push(right());
    if ((c > level) !== (d > level)) crossed.push(bottom());
    if ((d > level) !== (a > level)) crossed.push(left());
    for (let k = 0; k + 1 < crossed.length; k += 2) {
      path.moveTo(crossed[k][0] * cell, crossed[k][1] * cell);
      path.lineTo(crossed[k + 1][0] * cell, crossed[k + 1][1] * cell);
    }
  }
}
/* Lines for each group of the legend, or for all points where there are no groups or too many: [{ colour, path }].
   flat(point): its place in pixels on the unzoomed map. */
export function densityLines(s, panel, flat) {
  const owner = panel.layer || s, known = densities.get(owner), size = `${panel.w},${panel.h}`;
  if (known && known.version === s.version && known.size === size) return known.paths;
  const members = new Map(), few = s.groups.length > 0 && s.groups.length <= DENSITY_GROUPS;
  for (const p of s.points) {
    if (p.faint || (panel.layer && p.layer !== panel.layer) || (few && !p.group)) continue;
    const group = few ? p.group : null;
    if (members.has(group)) members.get(group).push(flat(p));
    else members.set(group, [flat(p)]);
  }
  const paths = [...members].filter(([, places]) => places.length > 3).map(([group, places]) => {
    const grid = gridDensity(places, panel.w, panel.h), path = new Path2D(), most = grid.values.reduce((x, y) => Math.max(x, y), 0);
    DENSITY_LEVELS.forEach(level => marchingSquares(grid, level * most, path));
    return { colour: group?.colour || null, path };
  });
  densities.set(owner, { version: s.version, size, paths });
  return paths;
}
