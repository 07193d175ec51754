// The contours of a plane, and trajectories.

const MOST_LABELS = 7; // of contour lines

function drawContour() {
  const look = theme(), name = state.column, scale = scaleOf(name), [alpha, beta] = axes;
  if (!scale) return show("contour", [], empty(name));
  const [low, high] = heights(scale);
  const z = columns[name].values.map((row) => Float64Array.from(row, (value) => height(value, scale)));
  const filled = {
    type: "heatmap", x: alpha.at, y: beta.at, z,
    zmin: low, zmax: high, zsmooth: isFine() ? "fast" : "best", colorscale: COLOURS,
    customdata: columns[name].values, hoverongaps: false,
    hovertemplate: `α %{x:.4g}<br>β %{y:.4g}<br>${columns[name].words} %{customdata:.4g}<extra></extra>`,
    colorbar: { title: { text: title(name, scale), side: "right" }, thickness: 14, outlinewidth: 0, ...ticks(scale, 14) },
  };
  const [width, length] = axes.map(({ at }) => at[at.length - 1] - at[0]);
  const equal = width < 3 * length && length < 3 * width;
  return show("contour", [filled, ...levelLines(scale, z), ...pathsOnPlane(), ...bestOnPlane(scale)], {
    margin: { l: 52, r: 10, t: 8, b: 40 },
    xaxis: { ...axisOf(look, alpha.title), range: ends(alpha.at), constrain: "domain" },
    yaxis: {
      ...axisOf(look, beta.title), range: ends(beta.at), constrain: "domain",
      ...(equal ? { scaleanchor: "x" } : {}),
    },
    shapes: marks(),
    showlegend: landscape.trajectories.length > 1,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
  });
}

/** Lines of the levels, and labels of some of them: one trace each, whatever their number. */
function levelLines(scale, z) {
  const [x, y] = axes.map(({ at }) => at), { best } = columns[state.column];
  const labelled = thinned(scale.levels, MOST_LABELS);
  const points = [], labels = [];
  for (const value of scale.levels) {
    const lines = linesAt(height(value, scale), x, y, z);
    for (const line of lines) points.push(...line, [null, null]);
    const place = labelled.includes(value) && labelPlace(lines, [[best.alpha, best.beta], ...labels], x, y);
    if (place) labels.push([...place, short(value)]);
  }
  const drawn = { type: "scatter", hoverinfo: "skip", showlegend: false };
  return [
    {
      ...drawn, mode: "lines", x: points.map(([x]) => x), y: points.map(([, y]) => y),
      line: { color: "rgba(255,255,255,0.75)", width: 0.9, shape: isFine() ? "linear" : "spline" },
    },
    {
      ...drawn, mode: "text", cliponaxis: false,
      x: labels.map(([x]) => x), y: labels.map(([, y]) => y), text: labels.map(([, , text]) => text),
      textfont: { size: 9.5, color: "white", shadow: "0 0 3px black, 0 0 3px black" },
    },
  ];
}

function bestOnPlane(scale) {
  const { best } = columns[state.column];
  if (scale.constant) return [];
  return [{
    type: "scatter", mode: "markers", x: [best.alpha], y: [best.beta], hoverinfo: "skip", cliponaxis: false,
    showlegend: false,
    marker: { symbol: "star", size: 13, color: "white", line: { color: "black", width: 1 } },
  }];
}

const pathsOnPlane = () =>
  paths().map((path) => ({
    type: "scatter", mode: "lines+markers", ...path, showlegend: true,
    line: { color: path.color, width: 2 }, marker: { color: path.color, size: 6, line: { color: "white", width: 1 } },
  }));

const pathColour = (number) => PATHS[number % PATHS.length];

/** Trajectories over the plane, with what is known of each checkpoint. */
function paths() {
  const name = state.column;
  return landscape.trajectories.map((path, number) => {
    const [x, y, under] = [path.alpha, path.beta, path.under[name]].map(decoded);
    const [epoch, rate, own] = [path.epoch, path.learning_rate, path.values[name]].map((a) => a && decoded(a));
    const text = path.checkpoints.map((checkpoint, i) => [
      `${path.name}: ${checkpoint}`,
      ...(epoch ? [`epoch ${short(epoch[i])}`] : []),
      ...(rate ? [`learning rate ${short(rate[i])}`] : []),
      ...(own ? [`${columns[name].words} ${short(own[i])}`] : []),
      `surface under it ${short(under[i])}`,
    ].join("<br>"));
    return { x, y, under, text, color: pathColour(number), name: path.name, hovertemplate: "%{text}<extra></extra>" };
  });
}

/** The cuts through the pinned point, it, and the point under the mouse over the surface. */
function marks() {
  const look = theme(), [alpha, beta] = axes;
  const [row, column] = state.pin;
  const line = { color: look.accent, width: 1.2, dash: "dot" };
  const ring = ([r, c], color) => ({
    type: "circle", xsizemode: "pixel", ysizemode: "pixel", xanchor: alpha.at[c], yanchor: beta.at[r],
    x0: -8, x1: 8, y0: -8, y1: 8, line: { color, width: 2.5 },
  });
  return [
    { type: "line", xref: "x domain", x0: 0, x1: 1, y0: beta.at[row], y1: beta.at[row], line },
    { type: "line", yref: "y domain", y0: 0, y1: 1, x0: alpha.at[column], x1: alpha.at[column], line },
    ring(state.pin, look.accent),
    ...(state.cursor ? [ring(state.cursor, "white")] : []),
  ];
}
