// Lines of equal value over a plane, and where they are labelled.

/**
 * The lines of a level, by marching squares: each a list of [x, y], a closed one with its first point again at its
 * end. `z` are rows along `y`; cells with a corner that is NaN have none.
 */
function linesAt(level, x, y, z) {
  const links = crossings(level, x.length, z);
  const between = (axis, i, from, to) => axis[i] + (axis[i + 1] - axis[i]) * (level - from) / (to - from);
  const place = (edge) => {
    const r = Math.floor(edge / 2 / x.length), c = (edge >> 1) % x.length, from = z[r][c];
    return edge & 1 ? [x[c], between(y, r, from, z[r + 1][c])] : [between(x, c, from, z[r][c + 1]), y[r]];
  };
  const follow = (start) => {
    const line = [];
    for (let edge = start, next; edge !== undefined; edge = next) {
      const others = links.get(edge);
      links.delete(edge);
      line.push(place(edge));
      next = others.find((other) => links.has(other));
    }
    return line;
  };
  const lines = [];
  for (const [edge, others] of links) if (others.length === 1) lines.push(follow(edge));
  for (const edge of links.keys()) {
    const line = follow(edge);
    lines.push([...line, line[0]]);
  }
  return lines;
}

/**
 * Edges of the grid that a level crosses, each with the one or two that its line goes on to. Point i of the grid has
 * the edges 2 i, along a row, and 2 i + 1, to the next row.
 */
function crossings(level, width, z) {
  const links = new Map();
  const add = (from, to) => links.has(from) ? links.get(from).push(to) : links.set(from, [to]);
  const link = (a, b) => { add(a, b); add(b, a); };
  for (let r = 0; r + 1 < z.length; r++) {
    const row = z[r], next = z[r + 1];
    for (let c = 0; c + 1 < width; c++) {
      const values = [row[c], row[c + 1], next[c + 1], next[c]]; // around the cell
      const above = (values[0] > level) + 2 * (values[1] > level) + 4 * (values[2] > level) + 8 * (values[3] > level);
      const sum = values[0] + values[1] + values[2] + values[3];
      if (above === 0 || above === 15 || Number.isNaN(sum)) continue;
      const first = 2 * (r * width + c);
      const edges = [first, first + 3, first + 2 * width, first + 1];
      const crossed = edges.filter((_, i) => (above >> i & 1) !== (above >> (i + 1) % 4 & 1));
      const [a, b, d, e] = crossed;
      if (crossed.length === 2) link(a, b);
      else if ((sum / 4 > level) === (values[0] > level)) { link(a, b); link(d, e); } // a saddle
      else { link(e, a); link(b, d); }
    }
  }
  return links;
}

/** Where to write a level: where a line of it runs along x, far from what is taken and the rim; null without any. */
function labelPlace(lines, taken, x, y) {
  const along = (axis, value) => (value - axis[0]) / (axis[axis.length - 1] - axis[0]);
  const distance = (a, b) => Math.hypot(along(x, a[0]) - along(x, b[0]), along(y, a[1]) - along(y, b[1]));
  let best = null, most = -Infinity;
  for (const line of lines) {
    for (let i = 2; i + 2 < line.length; i++) {
      const [u, v] = [along(x, line[i][0]), along(y, line[i][1])];
      const rise = Math.abs(along(y, line[i + 2][1]) - along(y, line[i - 2][1])) / distance(line[i - 2], line[i + 2]);
      const room = Math.min(0.2, u, 1 - u, v, 1 - v, ...taken.map((other) => distance(other, line[i])));
      const score = 6 * room - rise;
      if (score > most) [best, most] = [line[i], score];
    }
  }
  return best;
}
