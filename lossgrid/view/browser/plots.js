// How all plots look.

const COLOURS = "Viridis"; // for all eyes, as are Okabe and Ito's colours below
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const PATHS = ["#f0308b", "#ff9a1f", "#ffffff"]; // colours that Viridis has not

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
    plotGlPixelRatio: Math.max(devicePixelRatio, 1.5), // with less, thin lines are broken
  });

const empty = (name) => ({
  annotations: [{
    text: `${columns[name].words} has no finite value`,
    showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5,
  }],
});
