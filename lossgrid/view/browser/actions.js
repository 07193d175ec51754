// What the user does.

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
  for (const event of ["pointermove", "pointerdown", "pointerup", "pointercancel", "wheel", "keydown"]) {
    document.addEventListener(event, ({ buttons }) => finishLater(buttons), { passive: true, capture: true });
  }
}

const PRINTED = 4; // pixels of a saved picture for each of the screen

/** A picture in print resolution, with a title, since the page's header is not in it. */
async function save(id) {
  if (id === "surface") await finish();
  const plot = element(id), { width, height: tall } = plot.getBoundingClientRect();
  const words = `${landscape.name}: ${isPlane ? columns[state.column].words : id.replace("metric-", "").replaceAll("_", " ")}`;
  const margin = { ...plot.layout.margin, t: 44 };
  const shapes = id === "contour" ? [] : plot.layout.shapes; // where the mouse was is no result
  const layout = { ...plot.layout, shapes, margin, title: { text: words, font: { size: 15 }, x: 0.5, y: 0.97, yanchor: "top" } };
  const data = id === "surface" ? [...plot.data, ...bestOnSurface(scaleOf(state.column))] : plot.data;
  const config = { plotGlPixelRatio: PRINTED };
  const href = await Plotly.toImage({ data, layout, config }, { format: "png", width, height: tall + 40, scale: PRINTED });
  const file = `${landscape.name}-${isPlane ? `${state.column}-` : ""}${id}.png`;
  Object.assign(document.createElement("a"), { href, download: file }).click();
}
