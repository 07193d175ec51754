"use strict";

// What page.py has put into the page. A plane has two axes, a line one; rows run along the last.
const landscape = JSON.parse(document.getElementById("landscape").textContent);
const columns = landscape.columns;
const axes = landscape.axes.map(({ name, share, at }) => {
  const letter = { alpha: "α", beta: "β" }[name];
  const title = share === null ? letter : `${letter} (${(100 * share).toFixed(1)} % of the variance)`;
  return { name, letter, title, at: decoded(at) };
});
const isPlane = axes.length === 2;
const status = decoded(landscape.status);
for (const column of Object.values(columns)) column.values = rows(column.values);

const COLOURS = "Viridis"; // for all eyes, as are Okabe and Ito's colours below
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const PATHS = ["#f0308b", "#ff9a1f", "#ffffff"]; // colours that Viridis has not
const STATUS = ["pending", "computed", "failed", "interpolated"];
const MOST_DOTS = 101; // curves of more points have no dots
const MOST_LABELS = 7; // of contour lines
const FIELD_OF_VIEW = Math.PI / 4; // Plotly's

const CAMERA = {
  eye: { x: 1.05, y: -1.6, z: 0.95 }, center: { x: 0, y: 0, z: -0.1 }, up: { x: 0, y: 0, z: 1 },
};

const state = {
  column: landscape.column,
  logarithmic: null, // as suits the column, until the user says
  pin: null, // [row, column] of the point whose cuts are shown
  cursor: null, // and of the one under the mouse
  camera: CAMERA,
};

const element = (id) => document.getElementById(id);

// ---- Values

function decoded({ kind, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new { Float32Array, Float64Array, Uint8Array }[kind](bytes.buffer);
}

function rows(array) {
  const values = decoded(array);
  const [height, width] = array.shape;
  return Array.from({ length: height }, (_, row) => values.subarray(row * width, (row + 1) * width));
}

/** A number in a few characters. */
function short(value) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = value === 0 || (size >= 1e-3 && size < 1e4)
    ? String(Number(value.toPrecision(4)))
    : value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return text.replace("-", "−");
}

function nearest(axis, value) {
  let best = 0;
  for (let i = 1; i < axis.length; i++) {
    if (Math.abs(axis[i] - value) < Math.abs(axis[best] - value)) best = i;
  }
  return best;
}

/** The scale of a column, as the switch says, or null where no value is finite. */
function scaleOf(name) {
  const { scales, logarithmic, fraction } = columns[name];
  const wanted = state.logarithmic === null || (fraction && !isPlane) ? logarithmic : state.logarithmic;
  return (wanted && scales.logarithmic) || scales.linear || null;
}

/** What is outside the range lies at its ends, as infinity does; NaN stays NaN. */
const clamped = (value, scale) => Math.min(Math.max(value, scale.low), scale.high);

const height = (value, scale) => {
  const shown = clamped(value, scale);
  return scale.logarithmic ? Math.log10(shown) : shown;
};

/** The range of heights: a little more than there is, so that nothing lies on its ends. */
function heights(scale) {
  const [low, high] = [height(scale.low, scale), height(scale.high, scale)];
  const margin = scale.constant ? Math.abs(low) / 10 || 1 : (high - low) / 200;
  return [low - margin, high + margin];
}

const siblings = (metric) => Object.keys(columns).filter((name) => columns[name].metric === metric);

const title = (name, scale) => columns[name].words + (scale && scale.logarithmic ? " (log scale)" : "");

// ---- Looks

function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    ["panel", "text", "line", "grid", "accent"].map((name) => [
      name, style.getPropertyValue(`--${name}`).trim(),
    ]),
  );
}

function layoutOf(look, layout) {
  return {
    paper_bgcolor: look.panel,
    plot_bgcolor: look.panel,
    font: { family: "system-ui, sans-serif", size: 11.5, color: look.text },
    hoverlabel: { font: { family: "system-ui, sans-serif", size: 12 } },
    showlegend: false,
    uirevision: "kept", // what the user has zoomed to
    ...layout,
  };
}

const axisOf = (look, text) => ({
  title: { text, standoff: 6 },
  gridcolor: look.grid,
  zeroline: false,
  linecolor: look.line,
  showline: true,
});

/** Tick labels of heights, at most so many: those of the values where heights are logarithms. */
function ticks(scale, most) {
  if (!scale.logarithmic || !scale.levels.length) return {};
  const levels = thinned(scale.levels, most);
  return { tickvals: levels.map(Math.log10), ticktext: levels.map(short) };
}

/** Every second, third, ... of a list, so that there are at most so many. */
const thinned = (list, most) => list.filter((_, number) => number % Math.ceil(list.length / most) === 0);

const show = (id, traces, layout) =>
  Plotly.react(id, traces, layoutOf(theme(), layout), {
    responsive: true, displayModeBar: false, scrollZoom: false,
  });

const empty = (name) => ({
  annotations: [{
    text: `${columns[name].words} has no finite value`,
    showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5,
  }],
});

// ---- Plane: surface

const SURFACE_RATIO = (() => {
  if (!isPlane) return null;
  const [x, y] = axes.map(({ at }) => at[at.length - 1] - at[0]);
  const stretch = 1.2 / Math.max(x, y);
  return { x: Math.max(x * stretch, 0.2), y: Math.max(y * stretch, 0.2), z: 0.75 };
})();

function drawSurface() {
  const look = theme(), name = state.column, scale = scaleOf(name), [alpha, beta] = axes;
  if (!scale) return show("surface", [], empty(name));
  const [low, high] = heights(scale);
  const z = columns[name].values.map((row) => Float64Array.from(row, (value) => height(value, scale)));
  const axis = (text, range) => ({
    title: { text }, range, nticks: 5, gridcolor: look.line, showspikes: false, showbackground: false,
    color: look.text, zeroline: false,
  });
  const surface = {
    type: "surface", x: alpha.at, y: beta.at, z,
    hoverinfo: "none", // the label is ours, as Plotly mixes up rows and columns of data here
    colorscale: COLOURS, cmin: low, cmax: high, showscale: false,
    contours: { z: linesOnSurface(scale), x: { highlight: false }, y: { highlight: false } },
    lighting: { ambient: 0.82, diffuse: 0.45, specular: 0.05, roughness: 0.8 },
  };
  return show("surface", [surface, ...bestOnSurface(scale), ...pathsOnSurface(scale)], {
    margin: { l: 0, r: 0, t: 0, b: 0 },
    scene: {
      xaxis: axis(alpha.title, ends(alpha.at)),
      yaxis: axis(beta.title, ends(beta.at)),
      zaxis: { ...axis(columns[name].words, [low, high]), ...ticks(scale, 5) },
      aspectmode: "manual", aspectratio: SURFACE_RATIO, camera: state.camera,
    },
  });
}

const ends = (at) => [at[0], at[at.length - 1]];

/** Plotly's lines on a surface lie at equal distances: at whole decades, or at the round levels. */
function linesOnSurface({ logarithmic, levels, low, high }) {
  if (!logarithmic && levels.length < 2) return { highlight: false };
  const [before, last] = levels.slice(-2);
  const size = logarithmic ? 1 : last - before;
  const start = logarithmic ? Math.ceil(Math.log10(low)) : last - size * Math.floor((last - low) / size);
  const end = logarithmic ? Math.log10(high) : high;
  return { show: true, start, end, size, color: "rgba(255,255,255,0.55)", width: 1, highlight: false };
}

function bestOnSurface(scale) {
  const { best } = columns[state.column];
  if (scale.constant) return [];
  return [{
    type: "scatter3d", mode: "markers", hoverinfo: "skip",
    x: [best.alpha], y: [best.beta], z: [height(best.value, scale)],
    marker: { symbol: "diamond", size: 5, color: "white", line: { color: "black", width: 1 } },
  }];
}

/** Trajectories lie a little above the surface, between the checkpoints as well. */
function pathsOnSurface(scale) {
  const name = state.column, [low, high] = heights(scale);
  const above = (values) => Array.from(values, (value) => height(value, scale) + (high - low) / 80);
  const checkpoints = paths().map((path) => ({
    type: "scatter3d", mode: "markers", ...path, z: above(path.under), marker: { color: path.color, size: 4 },
  }));
  const lines = landscape.trajectories.map(({ draped }, number) => ({
    type: "scatter3d", mode: "lines", hoverinfo: "skip", line: { color: pathColour(number), width: 5 },
    x: decoded(draped.alpha), y: decoded(draped.beta), z: above(decoded(draped.under[name])),
  }));
  return [...lines, ...checkpoints];
}

// ---- Plane: contours

function drawContour() {
  const look = theme(), name = state.column, scale = scaleOf(name), [alpha, beta] = axes;
  if (!scale) return show("contour", [], empty(name));
  const [low, high] = heights(scale);
  const filled = {
    type: "heatmap", x: alpha.at, y: beta.at,
    z: columns[name].values.map((row) => Float64Array.from(row, (value) => height(value, scale))),
    zmin: low, zmax: high, zsmooth: "best", colorscale: COLOURS,
    customdata: columns[name].values, hoverongaps: false,
    hovertemplate: `α %{x:.4g}<br>β %{y:.4g}<br>${columns[name].words} %{customdata:.4g}<extra></extra>`,
    colorbar: { title: { text: title(name, scale), side: "right" }, thickness: 14, outlinewidth: 0, ...ticks(scale, 14) },
  };
  const [width, length] = axes.map(({ at }) => at[at.length - 1] - at[0]);
  const equal = width < 3 * length && length < 3 * width;
  return show("contour", [filled, ...levelLines(scale), ...pathsOnPlane(), ...bestOnPlane(scale)], {
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

/** A trace for each level, as only so they may lie at any values. */
function levelLines(scale) {
  const z = columns[state.column].values.map((row) =>
    Float64Array.from(row, (value) => clamped(value, scale)));
  const labelled = thinned(scale.levels, MOST_LABELS);
  return scale.levels.map((value) => ({
    type: "contour", x: axes[0].at, y: axes[1].at, z, hoverinfo: "skip", showscale: false, showlegend: false,
    line: { color: "rgba(255,255,255,0.75)", width: 0.9 },
    contours: {
      type: "constraint", operation: "=", value,
      showlabels: labelled.includes(value), labelfont: { size: 9.5, color: "white" },
    },
  }));
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

// ---- Plane: marks over the surface, which are drawn beside WebGL, since that draws all anew

/** Where Plotly's camera puts a point of the surface, in pixels of its plot. */
function projection(scale) {
  const { eye, center, up } = state.camera;
  const box = element("surface").getBoundingClientRect();
  const minus = (a, b) => [a.x - b.x, a.y - b.y, a.z - b.z];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = (a) => a.map((part) => part / Math.sqrt(dot(a, a)));
  const back = unit(minus(eye, center));
  const right = unit(cross([up.x, up.y, up.z], back));
  const above = cross(back, right);
  const zoom = box.height / 2 / Math.tan(FIELD_OF_VIEW / 2);
  const along = ([low, high], ratio) => (value) => ratio * ((value - low) / (high - low) - 0.5);
  const x = along(ends(axes[0].at), SURFACE_RATIO.x);
  const y = along(ends(axes[1].at), SURFACE_RATIO.y);
  const z = along(heights(scale), SURFACE_RATIO.z);
  return ([row, column]) => {
    const value = columns[state.column].values[row][column];
    const seen = minus({ x: x(axes[0].at[column]), y: y(axes[1].at[row]), z: z(height(value, scale)) }, eye);
    const depth = -dot(seen, back);
    return [box.width / 2 + (zoom * dot(seen, right)) / depth, box.height / 2 - (zoom * dot(seen, above)) / depth];
  };
}

function markSurface() {
  const scale = scaleOf(state.column), place = scale && projection(scale);
  const [row, column] = state.pin;
  const path = (points) => {
    let command = "M";
    return points.map(place).map(([x, y]) => {
      const drawn = Number.isNaN(x) ? "" : `${command}${x.toFixed(1)} ${y.toFixed(1)}`;
      command = drawn ? "L" : "M";
      return drawn;
    }).join("");
  };
  const put = (name, point) => {
    const [x, y] = place && point ? place(point) : [NaN, NaN];
    const shown = !Number.isNaN(x);
    element(name).setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) element(name).setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  };
  const indices = (axis) => Array.from(axis.at.keys());
  element("row-cut").setAttribute("d", place ? path(indices(axes[0]).map((c) => [row, c])) : "");
  element("column-cut").setAttribute("d", place ? path(indices(axes[1]).map((r) => [r, column])) : "");
  put("pin", state.pin);
  put("cursor", state.cursor);
  if (state.cursor) {
    const [r, c] = state.cursor;
    element("cursor-value").textContent = short(columns[state.column].values[r][c]);
  }
}

// ---- Curves: cuts of a plane, or a line

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

// ---- Words

function tell() {
  const column = columns[state.column], { best } = column;
  const constant = best && column.scales.linear.constant;
  const at = (axis) => `${axis.letter} ${short(best[axis.name])}`;
  element("best").textContent = !best ? ""
    : constant ? `${column.words}: ${short(best.value)} everywhere`
    : `★ ${column.words}: ${best.kind} ${short(best.value)} at ${axes.map(at).join(", ")}`;
  element("notes").textContent = [column.gaps, landscape.notes].filter(Boolean).join("; ");
}

/** The table of all columns at the point under the mouse, else at the pinned one. */
function tellPoint() {
  const [row, column] = state.cursor || state.pin, [alpha, beta] = axes;
  element("place").textContent = `α ${short(alpha.at[column])}, β ${short(beta.at[row])}`;
  const told = Object.entries(columns).map(([name, { words, values }]) =>
    [words, short(values[row][column]), name === state.column]);
  told.push(["point", STATUS[status[row * alpha.at.length + column]], false]);
  element("values").replaceChildren(...told.map(([words, text, shown]) => {
    const line = document.createElement("tr");
    const head = Object.assign(document.createElement("th"), { scope: "row", textContent: words });
    line.append(head, Object.assign(document.createElement("td"), { textContent: text }));
    line.classList.toggle("shown", shown);
    return line;
  }));
}

function tellPin() {
  for (const [id, axis, index] of [["row", axes[1], state.pin[0]], ["col", axes[0], state.pin[1]]]) {
    const text = short(axis.at[index]);
    element(id).value = index;
    element(id).setAttribute("aria-valuetext", text);
    element(`${id}-value`).textContent = text;
  }
}

// ---- What the user does

/** Draw everything; `data-drawn` of the page counts how often that is done. */
async function draw() {
  const scale = scaleOf(state.column);
  element("log").checked = Boolean(scale && scale.logarithmic);
  element("log").disabled = !Object.values(isPlane ? [columns[state.column]] : columns)
    .some(({ scales }) => scales.logarithmic);
  tell();
  if (isPlane) {
    tellPoint();
    tellPin();
    markSurface();
    await Promise.all([drawSurface(), drawContour(), drawCuts()]);
  } else {
    await drawLine();
  }
  const page = document.documentElement.dataset;
  page.drawn = Number(page.drawn || 0) + 1;
}

function pinAt(point) {
  state.pin = point;
  tellPoint();
  tellPin();
  markSurface();
  Plotly.relayout("contour", { shapes: marks() });
  drawCuts();
}

let frameWaits = false;

/** Show where the mouse is in the other picture; once a frame, however fast it moves. */
function moveTo(point) {
  state.cursor = point;
  if (frameWaits) return;
  frameWaits = true;
  requestAnimationFrame(() => {
    frameWaits = false;
    tellPoint();
    markSurface();
    Plotly.relayout("contour", { shapes: marks() });
  });
}

const pointOf = ({ points: [{ x, y }] }) => [nearest(axes[1].at, y), nearest(axes[0].at, x)];

/** Plotly takes the press that begins a turn for a click: only one that ends where it began is. */
function listenToClicks(plot) {
  let press = null;
  const settle = () => {
    const point = press && press.released && (press.point || state.cursor);
    if (!point) return;
    press = null;
    pinAt(point);
  };
  plot.on("plotly_click", (event) => {
    if (press) press.point = pointOf(event);
    settle();
  });
  plot.addEventListener("pointerdown", ({ clientX: x, clientY: y }) => { press = { x, y }; });
  plot.addEventListener("pointermove", ({ clientX, clientY }) => {
    if (press && Math.hypot(clientX - press.x, clientY - press.y) > 4) press = null;
  });
  plot.addEventListener("pointerup", () => {
    if (press) press.released = true;
    settle();
  });
}

const lookFrom = (camera) => Plotly.relayout("surface", { "scene.camera": camera });

/** Come nearer to the middle of the surface; Plotly's own zoom glides on without telling where. */
function zoom(event) {
  event.preventDefault();
  const { eye, center } = state.camera;
  const from = (axis) => eye[axis] - center[axis];
  const distance = Math.hypot(from("x"), from("y"), from("z"));
  const wanted = Math.min(Math.max(distance * Math.exp(event.deltaY / 1000), 0.4), 6) / distance;
  const nearer = (axis) => center[axis] + wanted * from(axis);
  lookFrom({ ...state.camera, eye: { x: nearer("x"), y: nearer("y"), z: nearer("z") } });
}

function listen() {
  for (const id of ["surface", "contour"]) {
    element(id).on("plotly_hover", (event) => moveTo(pointOf(event)));
    element(id).on("plotly_unhover", () => moveTo(null));
  }
  element("contour").on("plotly_click", (event) => pinAt(pointOf(event)));
  listenToClicks(element("surface"));
  element("along-alpha").on("plotly_hover", ({ points: [{ x }] }) => moveTo([state.pin[0], nearest(axes[0].at, x)]));
  element("along-beta").on("plotly_hover", ({ points: [{ x }] }) => moveTo([nearest(axes[1].at, x), state.pin[1]]));
  for (const id of ["along-alpha", "along-beta"]) element(id).on("plotly_unhover", () => moveTo(null));
  for (const event of ["plotly_relayouting", "plotly_relayout"]) {
    element("surface").on(event, (change) => {
      state.camera = change["scene.camera"] || state.camera;
      markSurface();
    });
  }
  element("surface").addEventListener("wheel", zoom, { passive: false });
  element("reset").addEventListener("click", () => lookFrom(CAMERA));
  element("surface").on("plotly_afterplot", markSurface);
  element("row").addEventListener("input", ({ target }) => pinAt([Number(target.value), state.pin[1]]));
  element("col").addEventListener("input", ({ target }) => pinAt([state.pin[0], Number(target.value)]));
}

/** A picture in print resolution, with a title, since the page's header is not in it. */
async function save(id) {
  const plot = element(id), { width, height: tall } = plot.getBoundingClientRect();
  const words = `${landscape.name}: ${isPlane ? columns[state.column].words : id.replace("metric-", "").replaceAll("_", " ")}`;
  const margin = { ...plot.layout.margin, t: 44 };
  const shapes = id === "contour" ? [] : plot.layout.shapes; // where the mouse was is no result
  const layout = { ...plot.layout, shapes, margin, title: { text: words, font: { size: 15 }, x: 0.5, y: 0.97, yanchor: "top" } };
  const href = await Plotly.toImage({ data: plot.data, layout }, { format: "png", width, height: tall + 40, scale: 4 });
  const file = `${landscape.name}-${isPlane ? `${state.column}-` : ""}${id}.png`;
  Object.assign(document.createElement("a"), { href, download: file }).click();
}

// ---- The beginning

function fill() {
  element("name").textContent = landscape.name;
  for (const [name, text] of landscape.facts) {
    const pair = document.createElement("div");
    pair.append(
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: text }),
    );
    element("facts").append(pair);
  }
  for (const [name, { words }] of Object.entries(columns)) element("column").add(new Option(words, name));
  element("column").value = state.column;
  element("choice").hidden = !isPlane;
  element(isPlane ? "plane" : "line").hidden = false;
}

function fillPlane() {
  const { best } = columns[state.column], [alpha, beta] = axes;
  state.pin = best ? [nearest(beta.at, best.beta), nearest(alpha.at, best.alpha)] : [0, 0];
  element("row").max = beta.at.length - 1;
  element("col").max = alpha.at.length - 1;
}

function fillLine() {
  for (const metric of metrics()) {
    const panel = document.createElement("section");
    panel.className = "panel";
    panel.setAttribute("aria-label", metric);
    panel.innerHTML = '<div class="caption"><h2></h2><button>Save PNG</button></div><div class="plot"></div>';
    panel.querySelector("h2").textContent = metric.replaceAll("_", " ");
    panel.querySelector("button").dataset.saves = lineId(metric);
    panel.querySelector(".plot").id = lineId(metric);
    element("line").append(panel);
  }
}

async function begin() {
  fill();
  (isPlane ? fillPlane : fillLine)();
  await draw();
  if (isPlane) listen();
  element("column").addEventListener("change", ({ target }) => {
    state.column = target.value;
    draw();
  });
  element("log").addEventListener("change", ({ target }) => {
    state.logarithmic = target.checked;
    draw();
  });
  for (const button of document.querySelectorAll("[data-saves]")) {
    button.addEventListener("click", () => save(button.dataset.saves));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

begin();
