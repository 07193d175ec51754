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

const FINE = 150; // points an axis: with more, they are so close that neither colours nor lines need smoothing

/** Whether points are that close, and even: the last one of a thinned axis may be nearer than the others. */
const isFine = () => axes.every(({ at }) =>
  at.length > FINE && Math.abs((at.at(-1) - at.at(-2)) / (at[1] - at[0]) - 1) < 1e-3);

const CAMERA = {
  eye: { x: 1.05, y: -1.6, z: 0.95 }, center: { x: 0, y: 0, z: -0.1 }, up: { x: 0, y: 0, z: 1 },
};

const state = {
  column: landscape.column,
  logarithmic: null, // as suits the column, until the user says
  pin: null, // [row, column] of the point whose cuts are shown
  cursor: null, // and of the one under the mouse
  camera: CAMERA,
  whole: false, // whether the surface is drawn with all its points
};

const element = (id) => document.getElementById(id);

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
