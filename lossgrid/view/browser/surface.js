// The surface of a plane.

const FIELD_OF_VIEW = Math.PI / 4; // Plotly's

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
  const shown = (list) => (state.whole ? list : thinned(list, FINE));
  const z = shown(columns[name].values).map((row) => Float64Array.from(shown(row), (value) => height(value, scale)));
  const axis = (text, range) => ({
    title: { text }, range, nticks: 5, gridcolor: look.line, showspikes: false, showbackground: false,
    color: look.text, zeroline: false,
  });
  const surface = {
    type: "surface", x: shown(alpha.at), y: shown(beta.at), z,
    hoverinfo: "none", // the label is ours, as Plotly mixes up rows and columns of data here
    colorscale: COLOURS, cmin: low, cmax: high, showscale: false,
    contours: { z: linesOnSurface(scale), x: { highlight: false }, y: { highlight: false } },
    lighting: { ambient: 0.82, diffuse: 0.45, specular: 0.05, roughness: 0.8 },
  };
  return show("surface", [surface, ...pathsOnSurface(scale)], {
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

/** The best place as a point in space: in a saved picture, which has no marks beside WebGL. */
function bestOnSurface(scale) {
  const { best } = columns[state.column];
  if (!scale || scale.constant) return [];
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

// ---- Plane: marks over the surface, which are drawn beside WebGL, since that draws all anew

/** Where Plotly's camera puts a value over a place of the plane, in pixels of its plot. */
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
  return (alpha, beta, value) => {
    const seen = minus({ x: x(alpha), y: y(beta), z: z(height(value, scale)) }, eye);
    const depth = -dot(seen, back);
    return [box.width / 2 + (zoom * dot(seen, right)) / depth, box.height / 2 - (zoom * dot(seen, above)) / depth];
  };
}

function markSurface() {
  const scale = scaleOf(state.column), place = scale && projection(scale);
  const { best, values } = columns[state.column], [alpha, beta] = axes;
  const [row, column] = state.pin;
  const placeOf = ([r, c]) => place(alpha.at[c], beta.at[r], values[r][c]);
  const path = (points) => {
    let command = "M";
    return points.map(placeOf).map(([x, y]) => {
      const drawn = Number.isNaN(x) ? "" : `${command}${x.toFixed(1)} ${y.toFixed(1)}`;
      command = drawn ? "L" : "M";
      return drawn;
    }).join("");
  };
  const put = (name, [x, y]) => {
    const shown = !Number.isNaN(x);
    element(name).setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) element(name).setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  };
  const indices = (axis) => Array.from(axis.at.keys());
  const nowhere = [NaN, NaN];
  element("row-cut").setAttribute("d", place ? path(indices(alpha).map((c) => [row, c])) : "");
  element("column-cut").setAttribute("d", place ? path(indices(beta).map((r) => [r, column])) : "");
  put("best-mark", place && !scale.constant ? place(best.alpha, best.beta, best.value) : nowhere);
  put("pin", place ? placeOf(state.pin) : nowhere);
  put("cursor", place && state.cursor ? placeOf(state.cursor) : nowhere);
  if (state.cursor) {
    const [r, c] = state.cursor;
    element("cursor-value").textContent = short(values[r][c]);
  }
}
