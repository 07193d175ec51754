// The page: drawn as a whole, and begun.

const REST = 500; // milliseconds

/**
 * Draw everything; `data-drawn` of the page counts how often that is done. A surface of many points is drawn with some
 * of them at first, and with all once the user rests: without a GPU that takes so long that the page would seem dead.
 */
async function draw() {
  const scale = scaleOf(state.column);
  element("log").checked = Boolean(scale && scale.logarithmic);
  element("log").disabled = !Object.values(isPlane ? [columns[state.column]] : columns)
    .some(({ scales }) => scales.logarithmic);
  tell();
  if (isPlane) {
    state.whole = !isFine();
    document.documentElement.dataset.whole = state.whole;
    tellPoint();
    tellPin();
    markSurface();
    await Promise.all([drawSurface(), drawContour(), drawCuts()]);
    requestAnimationFrame(() => requestAnimationFrame(() => finishLater(0))); // what is drawn is on the screen then
  } else {
    await drawLine();
  }
  const page = document.documentElement.dataset;
  page.drawn = Number(page.drawn || 0) + 1;
}

let rest = null;

/** Finish the surface once the user has rested for a while, from now on, with no button down. */
function finishLater(buttons) {
  clearTimeout(rest);
  if (!state.whole && !buttons) rest = setTimeout(finish, REST);
}

/** Draw the surface with all its points, unless it is; `data-whole` of the page says whether it is. */
async function finish() {
  if (!state.whole) {
    state.whole = true;
    await drawSurface();
  }
  document.documentElement.dataset.whole = state.whole;
}

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
