/* The canvas of a map: points of one shared projection in one panel, or in one for each layer; finding them again.
   s holds what is shown: points, value, choice, chosen, hovered, kept. */
frami.map = (root, stage, canvas, s) => {
  "use strict";
  const reach = { mouse: 14, pen: 18, touch: 24 };
  const css = name => getComputedStyle(root).getPropertyValue(name).trim();
  let panels = [], zoom = 1, pan = [0, 0];

  const grid = (count, width) => {
    const columns = Math.min(count > 3 ? Math.ceil(Math.sqrt(count)) : count, Math.max(1, Math.floor(width / 150)));
    return { columns, rows: Math.ceil(count / columns) };
  };
  function layout(width, height) {
    const apart = s.choice.view === "apart" && s.value.layers.length > 1 ? s.value.layers : [null];
    const head = apart[0] ? 26 : 0, { columns, rows } = grid(apart.length, width);
    panels = apart.map((layer, i) => ({
      layer, x: i % columns * width / columns, y: Math.floor(i / columns) * height / rows + head, w: width / columns, h: height / rows - head,
    }));
    const xs = s.points.map(p => p.x), ys = s.points.map(p => p.y);
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const { w, h } = panels[0], edge = Math.min(w, h) < 220 ? 14 : 30;
    const across = (w - 2 * edge) / Math.max(right - left, 1e-6), up = (h - 2 * edge) / Math.max(high - low, 1e-6);
    // the axes of UMAP have no unit: they may be stretched a little to fill the panel
    const loose = root.dataset.projection === "umap" ? 1.6 : 1, tight = Math.min(across, up);
    const [fx, fy] = [zoom * Math.min(across, loose * tight), zoom * Math.min(up, loose * tight)];
    s.points.forEach(p => { p.sx = w / 2 + (p.x - (left + right) / 2) * fx + pan[0]; p.sy = h / 2 - (p.y - (low + high) / 2) * fy + pan[1]; });
  }

  // ---- drawing
  function draw() {
    const width = stage.clientWidth, ratio = devicePixelRatio || 1;
    const { columns, rows } = grid(s.value.layers.length || 1, width), tall = rows * Math.min(260, width / columns + 26);
    canvas.style.height = s.choice.view === "apart" && (rows > 2 || width < 500) ? `${tall}px` : "";
    const height = canvas.clientHeight;
    if (!width || !s.points.length) { canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height); return; }
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    }
    const c = canvas.getContext("2d"), ink = css("--body-text-color"), paper = css("--block-background-fill") || "#fff", grey = css("--frami-real");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    layout(width, height);
    const roomy = panels.length === 1 && width > 500;
    const size = (roomy ? s.points.length > 300 ? 4 : 4.8 : 3.2) * Math.min(1.6, zoom ** .3);
    for (const panel of panels) {
      c.save();
      c.beginPath(); c.rect(panel.x, panel.y - (panel.layer ? 26 : 0), panel.w, panel.h + 26); c.clip();
      if (panel.layer) {
        c.strokeStyle = css("--frami-line"); c.lineWidth = 1;
        c.strokeRect(panel.x + .5, panel.y - 25.5, panel.w - (panel.x + panel.w < width - 1 ? 0 : 1), panel.h + 25);
        c.fillStyle = ink; c.font = "700 13px 'IBM Plex Sans', system-ui, sans-serif"; c.textAlign = "left";
        c.fillText(panel.layer.title, panel.x + 10, panel.y - 8, panel.w - 20);
      }
      c.translate(panel.x, panel.y);
      const mine = p => !panel.layer || p.layer === panel.layer;
      const order = p => (mine(p) ? 2 : 0) + (p.layer.real ? 0 : 1) - (p.faint ? 4 : 0);
      const one = s.chosen && s.points.find(p => p.id === s.chosen);
      if (one) {
        c.strokeStyle = ink; c.lineWidth = 1; c.globalAlpha = .45;
        for (const near of s.kept.get(s.chosen)?.near || []) {
          const other = s.points.find(p => p.id === near.id);
          if (other && mine(one) && mine(other)) { c.beginPath(); c.moveTo(one.sx, one.sy); c.lineTo(other.sx, other.sy); c.stroke(); }
        }
      }
      for (const p of [...s.points].sort((a, b) => order(a) - order(b))) {
        const shown = mine(p);
        c.globalAlpha = p.faint ? .1 : !shown ? .16 : p.layer.real ? .75 : .95;
        c.beginPath();
        c.arc(p.sx, p.sy, shown ? p.layer.real ? size - .6 : size : 2, 0, 2 * Math.PI);
        if (!shown) { c.fillStyle = grey; c.fill(); }
        else if (p.layer.real) { c.lineWidth = size < 4 ? 1.1 : 1.4; c.strokeStyle = p.colour; c.stroke(); }
        else { c.fillStyle = p.colour; c.fill(); c.lineWidth = .8; c.strokeStyle = paper; c.stroke(); }
      }
      c.globalAlpha = 1;
      if (s.choice.colour === "class" && !panel.layer) names(c, panel, ink, paper);
      for (const [p, far] of [[one, 4.5], [s.hovered, 3]]) {
        if (!p || !mine(p) || (p === one && far === 3)) continue;
        c.beginPath(); c.arc(p.sx, p.sy, size + far, 0, 2 * Math.PI);
        c.lineWidth = p === one ? 2.5 : 1.5; c.strokeStyle = ink; c.stroke();
        if (p === one) { c.beginPath(); c.arc(p.sx, p.sy, size, 0, 2 * Math.PI); c.fillStyle = p.colour; p.layer.real ? 0 : c.fill(); }
      }
      c.restore();
    }
    root.dataset.drawn = s.points.length;
  }
  // class names where most of a class lies, as far as they do not cover each other
  function names(c, panel, ink, paper) {
    const taken = [], reachable = Math.max(20, .055 * panel.w) ** 2;
    c.font = "700 12.5px 'IBM Plex Sans', system-ui, sans-serif"; c.textAlign = "center"; c.lineJoin = "round";
    s.value.classes.forEach((name, i) => {
      const own = s.points.filter(p => p.label === i && !p.faint);
      if (own.length < 3) return;
      // the member with the most neighbours of its own class: a mean may lie where no point is
      const near = p => own.filter(q => (p.sx - q.sx) ** 2 + (p.sy - q.sy) ** 2 < reachable);
      const most = own.map(near).reduce((a, b) => b.length > a.length ? b : a);
      if (most.length < .25 * own.length) return;
      const w = c.measureText(name).width / 2 + 4, ys = most.map(p => p.sy), xs = most.map(p => p.sx);
      const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
      const mx = (left + right) / 2, my = (top + bottom) / 2 + 4;
      for (const [atX, atY] of [[mx, top - 10], [mx, bottom + 20], [right + w + 8, my], [left - w - 8, my]]) {
        const x = Math.min(panel.w - w, Math.max(w, atX)), y = Math.min(panel.h - 6, Math.max(14, atY));
        if (taken.some(t => Math.abs(t[0] - x) < t[2] + w && Math.abs(t[1] - y) < 17)) continue;
        taken.push([x, y, w]);
        c.lineWidth = 4; c.strokeStyle = paper; c.strokeText(name, x, y);
        c.fillStyle = ink; c.fillText(name, x, y);
        break;
      }
    });
  }


  // ---- finding s.points
  const visible = p => !p.faint;
  function under(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = (reach[event.pointerType] || 14) ** 2;
    for (const panel of panels) {
      if (x < panel.x || x > panel.x + panel.w || y < panel.y || y > panel.y + panel.h) continue;
      for (const p of s.points) {
        const d = (p.sx + panel.x - x) ** 2 + (p.sy + panel.y - y) ** 2;
        if (d < least && visible(p) && (!panel.layer || p.layer === panel.layer)) { least = d; best = [p, panel]; }
      }
    }
    return best;
  }
  function magnify(factor, clientX, clientY) {
    const panel = panels[0], box = canvas.getBoundingClientRect();
    if (!panel) return;
    if (!factor) { zoom = 1; pan = [0, 0]; return draw(); }
    const after = Math.min(20, Math.max(.8, zoom * factor)), change = after / zoom;
    const x = clientX === undefined ? 0 : (clientX - box.left) % panel.w - panel.w / 2;
    const y = clientY === undefined ? 0 : clientY - box.top - panel.y - panel.h / 2;
    pan = [x - (x - pan[0]) * change, y - (y - pan[1]) * change];
    zoom = after;
    draw();
  }
  // the nearest point that lies more in this direction than beside it
  function toward(from, key) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    let best = null, least = Infinity;
    for (const p of s.points) {
      const x = p.sx - from.sx, y = p.sy - from.sy, along = x * dx + y * dy, beside = Math.abs(x * dy - y * dx);
      if (p === from || !visible(p) || along < .5 || beside > 1.2 * along) continue;
      if (s.choice.view === "apart" && p.layer !== from.layer) continue;
      if (along + 1.5 * beside < least) { least = along + 1.5 * beside; best = p; }
    }
    return best;
  }
  const middle = () => {
    const { w, h } = panels[0] || {}, off = p => (p.sx - w / 2) ** 2 + (p.sy - h / 2) ** 2;
    return s.points.filter(visible).reduce((a, p) => !a || off(p) < off(a) ? p : a, null);
  };
  /* where a point lies in the window */
  const where = id => {
    const p = s.points.find(point => point.id === id), box = canvas.getBoundingClientRect();
    const panel = panels.find(one => !one.layer || one.layer === p.layer);
    return [box.left + panel.x + p.sx, box.top + panel.y + p.sy];
  };
  const move = (dx, dy) => { pan = [pan[0] + dx, pan[1] + dy]; draw(); };
  const fit = () => { zoom = 1; pan = [0, 0]; };
  return { draw, under, toward, magnify, move, fit, middle, where, css, get zoomed() { return zoom > 1; } };
};
