// Curves: cuts of a plane, or a line.

const MOST_DOTS = 101; // curves of more points have no dots

/** All columns of a metric along an axis; `pick` takes a column's values along it. */
function drawCurves(id, metric, axis, pick, mark) {
  const look = theme(), names = siblings(metric), scales = names.map(scaleOf).filter(Boolean);
  const logarithmic = scales.some((scale) => scale.logarithmic);
  const levels = [...new Set(scales.flatMap((scale) => scale.levels))].sort((a, b) => a - b);
  const tickvals = thinned(levels, 9);
  const traces = names.map((name, number) => {
    const spread = columns[`${name}_sem`];
    return {
      x: axis.at, y: Array.from(pick(columns[name].values)), name: columns[name].split,
      mode: axis.at.length <= MOST_DOTS ? "lines+markers" : "lines", marker: { size: 4 },
      line: { color: PALETTE[number % PALETTE.length], width: 2 },
      hovertemplate: "%{y:.5g}",
      ...(spread ? { error_y: { array: Array.from(pick(spread.values)), thickness: 1, width: 0 } } : {}),
    };
  });
  return show(id, [...traces, ...checkpointsOnLine(names)], {
    margin: { l: 56, r: 12, t: 6, b: 38 },
    hovermode: "x unified",
    showlegend: traces.length > 1,
    legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    xaxis: { ...axisOf(look, axis.title), hoverformat: ".4g" },
    yaxis: {
      ...axisOf(look, names.length > 1 ? metric.replaceAll("_", " ") : columns[names[0]].words),
      ...(logarithmic ? { type: "log", tickvals, ticktext: tickvals.map(short) } : {}),
    },
    shapes: mark === null ? [] : [lineAt(mark)],
  });
}

const lineAt = (x) => ({
  type: "line", yref: "paper", y0: 0, y1: 1, x0: x, x1: x,
  line: { color: theme().accent, width: 1.2, dash: "dot" },
});

/** The true values at a trajectory's checkpoints, where the grid is a line. */
const checkpointsOnLine = (names) =>
  isPlane ? [] : landscape.trajectories.flatMap((path) =>
    names.filter((name) => path.values[name]).map((name) => ({
      x: decoded(path[axes[0].name]), y: decoded(path.values[name]), text: path.checkpoints, mode: "markers",
      name: `${columns[name].split}, checkpoints`, hovertemplate: "%{y:.5g} %{text}",
      marker: { symbol: "diamond", size: 8, color: PALETTE[names.indexOf(name) % PALETTE.length] },
    })));

function drawCuts() {
  const [alpha, beta] = axes, [row, column] = state.pin, { metric } = columns[state.column];
  return Promise.all([
    drawCurves("along-alpha", metric, alpha, (values) => values[row], alpha.at[column]),
    drawCurves("along-beta", metric, beta, (values) => values.map((r) => r[column]), beta.at[row]),
  ]);
}

const lineId = (metric) => `metric-${metric}`;

const metrics = () => [...new Set(Object.values(columns).map(({ metric }) => metric))];

/** One panel a metric. */
function drawLine() {
  const pick = (values) => (values.length === 1 ? values[0] : values.map((row) => row[0]));
  return Promise.all(metrics().map((metric) => drawCurves(lineId(metric), metric, axes[0], pick, null)));
}
